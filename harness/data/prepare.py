"""Raw interactions -> Domain: deduplication, k-core, stable order, dense indices. Out of core, by DuckDB.

What does not fit into memory goes to a scratch folder, so a dump may be larger than memory; only ids of items that
stay, and their texts, are held as a whole.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.data.domain import Domain, Fingerprint
from harness.data.raw import Findings, RawDomain, Report, silent
from harness.errors import HarnessError
from harness.files import DISK_FULL

#: What DuckDB may take before it uses the disk.
_MEMORY = "2GB"
_BATCH = 2**20


@dataclass(frozen=True)
class Preparation:
    """What preparing a domain made and met.

    Attributes:
        fingerprint: of the content.
        timed: whether timestamps are instants.
        read: interactions read, after unusable rows were dropped.
        duplicates: exact duplicate rows among them.
        users, items, interactions: what is left by the k-core.
        rounds: passes until the k-core's fixed point.
        dropped: reason -> [rows, the first of them].
        noted: oddity -> [how often, the first].
    """

    fingerprint: str
    timed: bool
    read: int
    duplicates: int
    users: int
    items: int
    interactions: int
    rounds: int
    dropped: dict[str, tuple[int, str]]
    noted: dict[str, tuple[int, str]]

    def lines(self) -> list[str]:
        """For people: what was lost on the way, and what is odd."""
        lines = [
            f"dropped {count:,} rows: {reason} (first: {first})" for reason, (count, first) in self.dropped.items()
        ]
        if self.duplicates:
            lines.append(f"dropped {self.duplicates:,} rows: exact duplicates")
        return lines + [f"{count:,} {oddity} (first: {first})" for oddity, (count, first) in self.noted.items()]

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def prepare_into(folder: Path, raw: RawDomain, k_core: int = 5, report: Report = silent) -> Preparation:
    """Prepares one domain as the protocol says, into Parquet files that `harness.data.store` reads.

    Exact duplicate rows go (repeat interactions at another time stay); then the k-core; then a stable sort by
    time, so that ties keep the input's order. Users and items are numbered in the order of their ids' UTF-8 bytes.

    Args:
        folder: an empty folder.
        raw: what a source reads.
        k_core: least number of interactions of every user and item that stays.
        report: told how far it is.

    Raises:
        HarnessError: nothing is left, the source's files are unusable, or the disk is full.
    """
    with _database(folder) as db:
        read = _read(db, raw)
        report("removing duplicates", 0, None)
        events = _number(db)
        rounds = _to_core(db, k_core, report)
        left = _count(db, "core")
        if left == 0:
            raise HarnessError(
                f"Domain {raw.name!r}: no interaction is left by the {k_core}-core of {events:,} interactions.",
                "Lower k_core, or check the source.",
            )
        report("sorting", 0, None)
        users, items = _write(db, folder)
    _write_catalogue(folder, raw, items, report)
    report("taking the fingerprint", 0, None)
    fingerprint = _fingerprint(folder, users, raw.timed)
    findings: Findings = raw.findings
    return Preparation(
        fingerprint=fingerprint,
        timed=raw.timed,
        read=read,
        duplicates=read - events,
        users=users,
        items=len(items),
        interactions=left,
        rounds=rounds,
        dropped={reason: (f.count, f.first) for reason, f in findings.dropped.items()},
        noted={oddity: (f.count, f.first) for oddity, f in findings.noted.items()},
    )


def prepare(raw: RawDomain, k_core: int = 5) -> Domain:
    """Prepares one domain in memory's reach, and gives it back.

    Raises:
        HarnessError: see `prepare_into`.
    """
    from harness.data.store import read_domain

    with tempfile.TemporaryDirectory(prefix="prepare-") as folder:
        made = prepare_into(Path(folder), raw, k_core)
        return read_domain(Path(folder), raw.name, made.timed)


@contextmanager
def _database(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database on disk in a scratch folder beside the output, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=".scratch-", dir=folder) as scratch:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": _MEMORY,
            "temp_directory": str(Path(scratch, "spill")),
            "autoinstall_known_extensions": "false",  # they would be looked for on the network
            "autoload_known_extensions": "false",
        }
        try:
            with duckdb.connect(str(Path(scratch, "prepare.duckdb")), config=config) as db:
                yield db
        except duckdb.Error as error:
            # A full disk comes as an IOException, a TransactionException or a FatalException, by where it is met.
            full = any(words in str(error) for words in DISK_FULL)
            if not full and not isinstance(error, duckdb.IOException | duckdb.OutOfMemoryException):
                raise
            reason = str(error).split("\n")[0]
            raise HarnessError(
                f"Preparing in {scratch} failed: {reason}.", "Free some disk space, or choose another --cache-dir."
            ) from error


def _read(db: duckdb.DuckDBPyConnection, raw: RawDomain) -> int:
    db.execute("CREATE TABLE raw (user_id VARCHAR, item_id VARCHAR, timestamp BIGINT, place BIGINT)")
    read = 0
    for chunk in raw.interactions:
        places = pa.array(np.arange(read, read + len(chunk)))
        db.register("chunk", chunk.append_column("place", places))
        db.execute("INSERT INTO raw SELECT * FROM chunk")
        db.unregister("chunk")
        read += len(chunk)
    return read


def _number(db: duckdb.DuckDBPyConnection) -> int:
    """Ids become integers in the order of their text; of equal rows the first stays."""
    for kind in ("user", "item"):
        db.execute(
            f"CREATE TABLE {kind}s AS SELECT id, (row_number() OVER (ORDER BY id) - 1)::INTEGER AS number "  # noqa: S608
            f"FROM (SELECT DISTINCT {kind}_id AS id FROM raw)"
        )
    db.execute(
        'CREATE TABLE core AS SELECT u.number AS "user", i.number AS item, timestamp, min(place) AS place '
        "FROM raw JOIN users u ON raw.user_id = u.id JOIN items i ON raw.item_id = i.id "
        "GROUP BY u.number, i.number, timestamp"
    )
    db.execute("DROP TABLE raw")
    return _count(db, "core")


def _to_core(db: duckdb.DuckDBPyConnection, k: int, report: Report) -> int:
    """Drops users and items with fewer than k rows, repeatedly, until none is left to drop.

    The fixed point does not depend on the order of dropping, so both kinds go at once.
    """
    before, rounds = _count(db, "core"), 0
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
        after = _count(db, "core")
        if after == before:
            break
        before = after
    return rounds


def _write(db: duckdb.DuckDBPyConnection, folder: Path) -> tuple[int, list[str]]:
    """Numbers who stayed anew, without gaps and in the same order, and writes users and interactions."""
    for kind in ("user", "item"):
        db.execute(
            f'CREATE TABLE {kind}s_left AS SELECT id, number, (row_number() OVER (ORDER BY number) - 1) AS "index" '  # noqa: S608
            f'FROM {kind}s WHERE number IN (SELECT "{kind}" FROM core)'
        )
    db.execute(_copy('SELECT id AS user_id FROM users_left ORDER BY "index"', folder / "users.parquet"))
    events = (
        'SELECT u."index" AS "user", i."index" AS item, timestamp '
        'FROM core JOIN users_left u ON core."user" = u.number JOIN items_left i ON core.item = i.number '
        'ORDER BY u."index", timestamp, place'
    )
    db.execute(_copy(events, folder / "interactions.parquet"))
    items = db.execute('SELECT id FROM items_left ORDER BY "index"').fetchall()
    return _count(db, "users_left"), [item for (item,) in items]


def _write_catalogue(folder: Path, raw: RawDomain, items: list[str], report: Report) -> None:
    """The items that stayed, with the first text that the source has for each."""
    report("reading the items' texts", 0, None)
    texts: dict[str, str] = {}
    wanted = frozenset(items)
    for chunk in raw.items(wanted):
        for item, text in zip(chunk["item_id"].to_pylist(), chunk["text"].to_pylist(), strict=True):
            if item not in wanted:
                continue
            if item in texts:
                raw.findings.note("items described twice; the first description stands", 1, item)
            else:
                texts[item] = text
    silent_ones = [item for item in items if not texts.get(item)]
    if not texts:
        raise HarnessError(
            f"Domain {raw.name!r}: none of its {len(items):,} items is in the items file, the first is {items[0]!r}.",
            "Check that the items file belongs to the interactions, and the columns that are named.",
        )
    if silent_ones:
        raw.findings.note("items without text: a language model sees an empty text", len(silent_ones), silent_ones[0])
    table = pa.table({"item_id": pa.array(items), "text": pa.array([texts.get(item, "") for item in items])})
    pq.write_table(table, folder / "catalogue.parquet")


def _fingerprint(folder: Path, users: int, timed: bool) -> str:
    """The fingerprint of a prepared domain without holding it in memory; equals `Domain.fingerprint`."""
    sha = Fingerprint()
    for file, column in (("users", "user_id"), ("catalogue", "item_id"), ("catalogue", "text")):
        sha.strings(text for part in _batches(folder / f"{file}.parquet", column) for text in part.to_pylist())
    lengths = np.zeros(users, dtype=np.int64)
    for part in _batches(folder / "interactions.parquet", "user"):
        lengths += np.bincount(part.to_numpy(), minlength=users)
    sha.integers(np.concatenate([[0], np.cumsum(lengths)]))
    for column in ("item", "timestamp"):
        for part in _batches(folder / "interactions.parquet", column):
            sha.integers(part.to_numpy())
    return sha.hexdigest(timed)


def _batches(path: Path, column: str) -> Iterator[pa.Array]:
    for batch in pq.ParquetFile(path).iter_batches(_BATCH, columns=[column]):
        yield batch.column(0)


def _copy(query: str, path: Path) -> str:
    escaped = str(path).replace("'", "''")
    return f"COPY ({query}) TO '{escaped}' (FORMAT parquet)"


def _count(db: duckdb.DuckDBPyConnection, table: str) -> int:
    row = db.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - our own table names
    return int(row[0]) if row else 0
