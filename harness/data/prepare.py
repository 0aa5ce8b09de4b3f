"""Raw interactions -> Domain: deduplication, k-core, order in time, dense indices. Out of core, by DuckDB.

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
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness.data.domain import Domain, Fingerprint
from harness.data.records import Findings, RawDomain, ReadProgress, no_read_progress, shortened
from harness.data.ties import HASHED, TIE_KEY_SQL, Counts, ItemOrder, TieAudit, TieOrder, audit_of, count
from harness.data.times import NANOSECONDS, coarsest_unit
from harness.errors import HarnessError
from harness.storage.files import DISK_FULL

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
        ties: the audit of the order of ties.
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
    ties: TieAudit

    def lines(self) -> list[str]:
        """For people: what was lost on the way, and what is odd."""
        lines = [
            f"dropped {count:,} rows: {reason} (first: {first})" for reason, (count, first) in self.dropped.items()
        ]
        if self.duplicates:
            lines.append(f"dropped {self.duplicates:,} rows: exact duplicates")
        lines += [f"{count:,} {oddity} (first: {first})" for oddity, (count, first) in self.noted.items()]
        return lines + [f"order of ties: {warning}" for warning in self.ties.warnings()]

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def prepare_into(
    folder: Path, raw: RawDomain, k_core: int = 5, report: ReadProgress = no_read_progress, ties: TieOrder = HASHED
) -> Preparation:
    """Prepares one domain as the protocol says, into Parquet files that `harness.data.domain_store` reads.

    Exact duplicate rows go (repeat interactions at another time stay); then the k-core; then a sort by time, in which
    ties are ordered by a keyed hash or as the input has them. Users and items are numbered in the order of their ids'
    UTF-8 bytes.

    Args:
        folder: an empty folder.
        raw: what a source reads.
        k_core: least number of interactions of every user and item that stays.
        report: told how far it is.
        ties: how events of one user at one instant are ordered.

    Raises:
        HarnessError: nothing is left, the source's files are unusable, or the disk is full.
    """
    with _database(folder) as db:
        read = _read(db, raw)
        report("removing duplicates", 0, None)
        events = _number(db, raw.timed)
        rounds = _to_core(db, k_core, report)
        left = _count(db, "core")
        if left == 0:
            raise HarnessError(
                f"Domain {raw.name!r}: no interaction is left by the {k_core}-core of {events:,} interactions.",
                "Lower k_core, or check the source.",
            )
        report("sorting", 0, None)
        users, items, audit = _write(db, folder, ties, raw.timed)
    train_only = _mark_train_only(folder / "users.parquet", raw)
    _write_catalogue(folder, raw, items, report)
    report("taking the fingerprint", 0, None)
    fingerprint = _fingerprint(folder, users, raw.timed, train_only)
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
        ties=audit,
    )


def prepare(raw: RawDomain, k_core: int = 5, ties: TieOrder = HASHED) -> Domain:
    """Prepares one domain in memory's reach, and gives it back.

    Raises:
        HarnessError: see `prepare_into`.
    """
    from harness.data.domain_store import read_domain

    with tempfile.TemporaryDirectory(prefix="prepare-") as folder:
        made = prepare_into(Path(folder), raw, k_core, ties=ties)
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


def _number(db: duckdb.DuckDBPyConnection, timed: bool) -> int:
    """Ids become integers in the order of their text; of equal rows the first stays.

    Without instants, timestamps become each user's places 0, 1, 2, ...
    """
    for kind in ("user", "item"):
        db.execute(
            f"CREATE TABLE {kind}s AS SELECT id, (row_number() OVER (ORDER BY id) - 1)::INTEGER AS number "  # noqa: S608
            f"FROM (SELECT DISTINCT {kind}_id AS id FROM raw)"
        )
    if not timed:
        db.execute(
            "CREATE OR REPLACE TABLE raw AS SELECT user_id, item_id, "
            "row_number() OVER (PARTITION BY user_id ORDER BY timestamp, place) - 1 AS timestamp, place FROM raw"
        )
    db.execute(
        'CREATE TABLE core AS SELECT u.number AS "user", i.number AS item, timestamp, min(place) AS place '
        "FROM raw JOIN users u ON raw.user_id = u.id JOIN items i ON raw.item_id = i.id "
        "GROUP BY u.number, i.number, timestamp"
    )
    db.execute("DROP TABLE raw")
    return _count(db, "core")


def _to_core(db: duckdb.DuckDBPyConnection, k: int, report: ReadProgress) -> int:
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


def _write(db: duckdb.DuckDBPyConnection, folder: Path, ties: TieOrder, timed: bool) -> tuple[int, list[str], TieAudit]:
    """Numbers who stayed anew, without gaps and in the same order, writes users and interactions, and audits these."""
    for kind in ("user", "item"):
        db.execute(
            f'CREATE TABLE {kind}s_left AS SELECT id, number, (row_number() OVER (ORDER BY number) - 1) AS "index" '  # noqa: S608
            f'FROM {kind}s WHERE number IN (SELECT "{kind}" FROM core)'
        )
    db.execute(_copy('SELECT id AS user_id FROM users_left ORDER BY "index"', folder / "users.parquet"))
    items = [item for (item,) in db.execute('SELECT id FROM items_left ORDER BY "index"').fetchall()]
    db.execute('CREATE TEMP TABLE instants AS SELECT "user", timestamp FROM core GROUP BY ALL HAVING count(*) > 1')
    tied, key = "", "place"
    if ties.rule == "hashed":
        _hash_ties(db, ties.seed)
        tied, key = 'LEFT JOIN tied USING ("user", item, timestamp)', "tie_key, item"
    ids = ItemOrder.of(items)
    counts: list[Counts] = []
    schema = pa.schema([(name, pa.int64()) for name in ("user", "item", "timestamp")])
    with pq.ParquetWriter(folder / "interactions.parquet", schema) as writer:
        for events in _in_order(db, folder, tied, key):
            writer.write_table(events.select(schema.names).cast(schema))
            counts.append(_count_order(events, ids, timed))
    ties_in_file = _in_order(db, folder, 'SEMI JOIN instants USING ("user", timestamp)', "place")
    in_file = [_count_order(events, ids, timed) for events in ties_in_file]
    return _count(db, "users_left"), items, audit_of(counts, in_file, ids, timed, ties)


def _in_order(db: duckdb.DuckDBPyConnection, folder: Path, join: str, key: str) -> Iterator[pa.Table]:
    """The events of `core` in the order of time, and of `key` within ties; each user's in one of the tables."""
    path = folder / "ordered.parquet"
    query = (
        'SELECT u."index" AS "user", i."index" AS item, timestamp, place '  # noqa: S608 - our own tables
        f'FROM core {join} JOIN users_left u ON core."user" = u.number JOIN items_left i ON core.item = i.number '
        f'ORDER BY u."index", timestamp, {key}'
    )
    db.execute(_copy(query, path))
    rest: pa.Table | None = None
    for batch in pq.ParquetFile(path).iter_batches(_BATCH):
        table = pa.Table.from_batches([batch])
        table = table if rest is None else pa.concat_tables([rest, table])
        users = table["user"].to_numpy()
        last_user = int(np.searchsorted(users, users[-1]))
        if last_user:
            yield table.slice(0, last_user)
        rest = table.slice(last_user)
    if rest is not None:
        yield rest
    path.unlink()


def _count_order(events: pa.Table, ids: ItemOrder, timed: bool) -> Counts:
    users, items, times, places = (events[name].to_numpy() for name in ("user", "item", "timestamp", "place"))
    return count(users, items, times, ids, timed, places)


def _hash_ties(db: duckdb.DuckDBPyConnection, seed: int) -> None:
    """Makes the table `tied`: a key to sort by for each event that shares its instant with another of its user."""
    db.execute(
        "CREATE TEMP TABLE tied AS "  # noqa: S608 - our own expression
        'WITH pairs AS (SELECT DISTINCT "user", item FROM core SEMI JOIN instants USING ("user", timestamp)), '
        # An occurrence is counted over all events of a user with an item, tied or not.
        'counted AS (SELECT "user", item, timestamp, '
        'row_number() OVER (PARTITION BY "user", item ORDER BY timestamp) AS occurrence '
        'FROM core SEMI JOIN pairs USING ("user", item)) '
        f'SELECT "user", item, timestamp, {TIE_KEY_SQL} AS tie_key '
        'FROM counted SEMI JOIN instants USING ("user", timestamp) '
        'JOIN (SELECT number AS "user", id AS user_id FROM users) USING ("user") '
        "JOIN (SELECT number AS item, id AS item_id FROM items) USING (item)",
        {"seed": seed},
    )


def _mark_train_only(path: Path, raw: RawDomain) -> list[int]:
    """Marks the users of whom nothing is held out in the users' file, if there are any; gives their indices."""
    users = pq.read_table(path)
    marks = pc.is_in(users["user_id"], pa.array(sorted(raw.train_only), pa.string()))
    indices: list[int] = pc.indices_nonzero(marks).to_pylist()
    if indices:
        pq.write_table(users.append_column("train_only", marks), path)
        raw.findings.note(
            "users without a validation or test event: they only train",
            len(indices),
            shortened(users["user_id"][indices[0]].as_py()),
        )
    return indices


def _write_catalogue(folder: Path, raw: RawDomain, items: list[str], report: ReadProgress) -> None:
    """The items that stayed, each with the source's text for it; of several, with the first by its UTF-8 bytes."""
    report("reading the items' texts", 0, None)
    texts: dict[str, str] = {}
    wanted = frozenset(items)
    for chunk in raw.items(wanted) if raw.has_text else ():
        for item, text in zip(chunk["item_id"].to_pylist(), chunk["text"].to_pylist(), strict=True):
            if item not in wanted:
                continue
            if item in texts:
                raw.findings.note("items described twice; the text that sorts first stands", 1, shortened(item))
            if text and (not texts.get(item) or text < texts[item]):  # whichever line comes first
                texts[item] = text
            texts.setdefault(item, "")
    silent_ones = [item for item in items if not texts.get(item)]
    if raw.has_text and not texts:
        raise HarnessError(
            f"Domain {raw.name!r}: none of its {len(items):,} items is in the items file, the first is {items[0]!r}.",
            "Check that the items file belongs to the interactions, and the columns that are named.",
        )
    if silent_ones:
        raw.findings.note(
            "items without text: a language model sees an empty text", len(silent_ones), shortened(silent_ones[0])
        )
    table = pa.table({"item_id": pa.array(items), "text": pa.array([texts.get(item, "") for item in items])})
    pq.write_table(table, folder / "catalogue.parquet")


def _fingerprint(folder: Path, users: int, timed: bool, train_only: list[int]) -> str:
    """The fingerprint of a prepared domain without holding it in memory; equals `Domain.fingerprint`."""
    unit = "untimed"
    if timed:
        units = {coarsest_unit(part.to_numpy()) for part in _batches(folder / "interactions.parquet", "timestamp")}
        unit = min(units, key=NANOSECONDS.__getitem__)
    sha = Fingerprint()
    for file, column in (("users", "user_id"), ("catalogue", "item_id"), ("catalogue", "text")):
        sha.strings(text for part in _batches(folder / f"{file}.parquet", column) for text in part.to_pylist())
    lengths = np.zeros(users, dtype=np.int64)
    for part in _batches(folder / "interactions.parquet", "user"):
        lengths += np.bincount(part.to_numpy(), minlength=users)
    sha.integers(np.concatenate([[0], np.cumsum(lengths)]))
    for column, factor in (("item", 1), ("timestamp", NANOSECONDS.get(unit, 1))):
        for part in _batches(folder / "interactions.parquet", column):
            sha.integers(part.to_numpy() // factor)
    sha.train_only(train_only)
    return sha.hexdigest(unit)


def _batches(path: Path, column: str) -> Iterator[pa.Array]:
    for batch in pq.ParquetFile(path).iter_batches(_BATCH, columns=[column]):
        yield batch.column(0)


def _copy(query: str, path: Path) -> str:
    escaped = str(path).replace("'", "''")
    return f"COPY ({query}) TO '{escaped}' (FORMAT parquet)"


def _count(db: duckdb.DuckDBPyConnection, table: str) -> int:
    row = db.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - our own table names
    return int(row[0]) if row else 0
