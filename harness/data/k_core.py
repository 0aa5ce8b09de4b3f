"""The k-core: the largest part of the interactions in which every user and every item has at least k of them."""

import duckdb

from harness.data.records import ReadProgress


def take_core(db: duckdb.DuckDBPyConnection, k: int, report: ReadProgress) -> int:
    """Drop users and items with fewer than k rows repeatedly, until there are none; returns the number of rounds.

    The fixed point does not depend on the order of dropping, so users and items are dropped together.
    """
    before, rounds = count_rows(db, "core"), 0
    while before and k > 1:
        rounds += 1
        report(f"{k}-core, round {rounds}, {before:,} interactions", 0, None)
        db.execute(
            "CREATE TABLE next AS SELECT * FROM core "
            'WHERE "user" IN (SELECT "user" FROM core GROUP BY "user" HAVING count(*) >= $k) '
            "AND item IN (SELECT item FROM core GROUP BY item HAVING count(*) >= $k)",
            {"k": k},
        )
        db.execute("DROP TABLE core")
        db.execute("ALTER TABLE next RENAME TO core")
        after = count_rows(db, "core")
        if after == before:
            break
        before = after
    return rounds


def count_rows(db: duckdb.DuckDBPyConnection, table: str) -> int:
    """Number of rows of a table."""
    row = db.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - our own table names
    return int(row[0]) if row else 0
