"""Prepare a domain from raw interactions: deduplication, k-core, time order, dense indices. Out of core, with DuckDB.

DuckDB spills to a scratch folder, so a dump may be larger than memory. Only the ids and texts of items that remain are
held in memory.
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
from harness.data.domain_files import CATALOGUE, INTERACTIONS, USERS, read_domain
from harness.data.k_core import count_rows, take_core
from harness.data.records import RawDomain, ReadProgress, no_read_progress, shortened
from harness.data.ties import HASHED, TIE_KEY_SQL, Counts, ItemOrder, TieAudit, TieOrder, audit_of_counts, count_order
from harness.data.times import NANOSECONDS, coarsest_unit
from harness.errors import HarnessError
from harness.storage.files import DISK_FULL

#: Memory that DuckDB may use before it spills to disk.
_MEMORY_LIMIT = "2GB"
#: Rows read from Parquet at once.
_BATCH_SIZE = 2**20


@dataclass(frozen=True)
class Preparation:
    """An account of how a domain was prepared.

    Attributes:
        fingerprint: of the content.
        timed: whether timestamps are instants.
        read: number of interactions read, without unusable rows.
        duplicates: exact duplicate rows among them.
        users, items, interactions: numbers that remain after the k-core.
        rounds: passes until the fixed point of the k-core.
        dropped: reason -> [number of rows, the first of them].
        noted: oddity -> [number of rows or items, the first of them].
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
        """Lines for users: dropped rows, oddities, and warnings about the order of ties."""
        lines = [
            f"dropped {count:,} rows: {reason} (first: {first})" for reason, (count, first) in self.dropped.items()
        ]
        if self.duplicates:
            lines.append(f"dropped {self.duplicates:,} rows: exact duplicates")
        lines += [f"{count:,} {oddity} (first: {first})" for oddity, (count, first) in self.noted.items()]
        return lines + [f"order of ties: {warning}" for warning in self.ties.warnings()]

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)


def prepare_into(
    folder: Path, raw: RawDomain, k_core: int = 5, report: ReadProgress = no_read_progress, ties: TieOrder = HASHED
) -> Preparation:
    """Prepare a domain by the protocol, into Parquet files that `harness.data.domain_files` reads.

    Exact duplicate rows are removed (repeated interactions at another time stay); then the k-core is taken; then
    events are sorted by time, with ties ordered by a keyed hash or as in the input. Users and items are numbered in
    the order of their ids' UTF-8 bytes.

    Args:
        folder: an empty folder.
        raw: the records of a source.
        k_core: least number of interactions of every remaining user and item.
        report: called with the progress.
        ties: how events of one user with equal timestamps are ordered.

    Raises:
        HarnessError: no interaction remains, the source's files are unusable, or the disk is full.
    """
    with _database(folder) as db:
        n_read = _read(db, raw)
        report("removing duplicates", 0, None)
        n_distinct = _number_ids(db, raw.timed)
        rounds = take_core(db, k_core, report)
        n_left = count_rows(db, "core")
        if n_left == 0:
            raise HarnessError(
                f"Domain {raw.name!r}: no interaction is left by the {k_core}-core of {n_distinct:,} interactions.",
                "Lower k_core, or check the source.",
            )
        report("sorting", 0, None)
        n_users, items, audit = _write(db, folder, ties, raw.timed)
    train_only = _mark_train_only(folder / USERS, raw)
    _write_catalogue(folder, raw, items, report)
    report("computing the fingerprint", 0, None)
    fingerprint = _fingerprint(folder, n_users, raw.timed, train_only)
    return Preparation(
        fingerprint=fingerprint,
        timed=raw.timed,
        read=n_read,
        duplicates=n_read - n_distinct,
        users=n_users,
        items=len(items),
        interactions=n_left,
        rounds=rounds,
        dropped={reason: (f.count, f.first) for reason, f in raw.findings.dropped.items()},
        noted={oddity: (f.count, f.first) for oddity, f in raw.findings.noted.items()},
        ties=audit,
    )


def prepare(raw: RawDomain, k_core: int = 5, ties: TieOrder = HASHED) -> Domain:
    """Prepare a domain that fits into memory, without storing it.

    Raises:
        HarnessError: see `prepare_into`.
    """
    with tempfile.TemporaryDirectory(prefix="prepare-") as folder:
        preparation = prepare_into(Path(folder), raw, k_core, ties=ties)
        return read_domain(Path(folder), raw.name, preparation.timed)


@contextmanager
def _database(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database on disk in a scratch folder inside the output folder, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix=".scratch-", dir=folder) as scratch:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": _MEMORY_LIMIT,
            "temp_directory": str(Path(scratch, "spill")),
            "autoinstall_known_extensions": "false",  # would look for them on the network
            "autoload_known_extensions": "false",
        }
        try:
            with duckdb.connect(str(Path(scratch, "prepare.duckdb")), config=config) as db:
                yield db
        except duckdb.Error as error:
            # A full disk raises an IOException, a TransactionException or a FatalException, depending on the operation.
            full = any(words in str(error) for words in DISK_FULL)
            if not full and not isinstance(error, duckdb.IOException | duckdb.OutOfMemoryException):
                raise
            reason = str(error).split("\n")[0]
            raise HarnessError(
                f"Preparing in {scratch} failed: {reason}.", "Free some disk space, or choose another --cache-dir."
            ) from error


def _read(db: duckdb.DuckDBPyConnection, raw: RawDomain) -> int:
    """Load the interactions into the table `raw`; returns their number."""
    db.execute("CREATE TABLE raw (user_id VARCHAR, item_id VARCHAR, timestamp BIGINT, file_row BIGINT)")
    n_read = 0
    for chunk in raw.interactions:
        rows = pa.array(np.arange(n_read, n_read + len(chunk)))
        db.register("chunk", chunk.append_column("file_row", rows))
        db.execute("INSERT INTO raw SELECT * FROM chunk")
        db.unregister("chunk")
        n_read += len(chunk)
    return n_read


def _number_ids(db: duckdb.DuckDBPyConnection, timed: bool) -> int:
    """Replace ids by integers in the order of their text, in the table `core`; of equal rows the first stays.

    Without instants, timestamps become positions 0, 1, 2, ... within each user. Returns the number of distinct rows.
    """
    for kind in ("user", "item"):
        db.execute(
            f"CREATE TABLE {kind}s AS SELECT id, (row_number() OVER (ORDER BY id) - 1)::INTEGER AS number "  # noqa: S608
            f"FROM (SELECT DISTINCT {kind}_id AS id FROM raw)"
        )
    if not timed:
        db.execute(
            "CREATE OR REPLACE TABLE raw AS SELECT user_id, item_id, "
            "row_number() OVER (PARTITION BY user_id ORDER BY timestamp, file_row) - 1 AS timestamp, file_row FROM raw"
        )
    db.execute(
        'CREATE TABLE core AS SELECT u.number AS "user", i.number AS item, timestamp, min(file_row) AS file_row '
        "FROM raw JOIN users u ON raw.user_id = u.id JOIN items i ON raw.item_id = i.id "
        "GROUP BY u.number, i.number, timestamp"
    )
    db.execute("DROP TABLE raw")
    return count_rows(db, "core")


def _write(db: duckdb.DuckDBPyConnection, folder: Path, ties: TieOrder, timed: bool) -> tuple[int, list[str], TieAudit]:
    """Renumber the remaining users and items without gaps, in the same order; write and audit users and interactions.

    Returns:
        The number of users, the items' ids, and the audit of the order of ties.
    """
    for kind in ("user", "item"):
        db.execute(
            f'CREATE TABLE {kind}s_left AS SELECT id, number, (row_number() OVER (ORDER BY number) - 1) AS "index" '  # noqa: S608
            f'FROM {kind}s WHERE number IN (SELECT "{kind}" FROM core)'
        )
    db.execute(_copy('SELECT id AS user_id FROM users_left ORDER BY "index"', folder / USERS))
    items = [item for (item,) in db.execute('SELECT id FROM items_left ORDER BY "index"').fetchall()]
    db.execute('CREATE TEMP TABLE instants AS SELECT "user", timestamp FROM core GROUP BY ALL HAVING count(*) > 1')
    join, key = "", "file_row"
    if ties.rule == "hashed":
        _hash_ties(db, ties.seed)
        join, key = 'LEFT JOIN tied USING ("user", item, timestamp)', "tie_key, item"
    ids = ItemOrder.of(items)
    counts: list[Counts] = []
    schema = pa.schema([(name, pa.int64()) for name in ("user", "item", "timestamp")])
    with pq.ParquetWriter(folder / INTERACTIONS, schema) as writer:
        for events in _sorted_events(db, folder, join, key):
            writer.write_table(events.select(schema.names).cast(schema))
            counts.append(_count_order(events, ids, timed))
    ties_in_file = _sorted_events(db, folder, 'SEMI JOIN instants USING ("user", timestamp)', "file_row")
    file_counts = [_count_order(events, ids, timed) for events in ties_in_file]
    return count_rows(db, "users_left"), items, audit_of_counts(counts, file_counts, ids, timed, ties)


def _sorted_events(db: duckdb.DuckDBPyConnection, folder: Path, join: str, key: str) -> Iterator[pa.Table]:
    """The events of `core` by user and time, ties by `key`; all events of a user are in one table."""
    path = folder / "ordered.parquet"
    query = (
        'SELECT u."index" AS "user", i."index" AS item, timestamp, file_row '  # noqa: S608 - our own tables
        f'FROM core {join} JOIN users_left u ON core."user" = u.number JOIN items_left i ON core.item = i.number '
        f'ORDER BY u."index", timestamp, {key}'
    )
    db.execute(_copy(query, path))
    rest: pa.Table | None = None
    for batch in pq.ParquetFile(path).iter_batches(_BATCH_SIZE):
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
    users, items, times, file_rows = (events[name].to_numpy() for name in ("user", "item", "timestamp", "file_row"))
    return count_order(users, items, times, ids, timed, file_rows)


def _hash_ties(db: duckdb.DuckDBPyConnection, seed: int) -> None:
    """Create the table `tied`: a sort key for each event that shares its instant with another one of its user."""
    db.execute(
        "CREATE TEMP TABLE tied AS "  # noqa: S608 - our own expression
        'WITH pairs AS (SELECT DISTINCT "user", item FROM core SEMI JOIN instants USING ("user", timestamp)), '
        # Occurrences are counted over all events of a user with an item, tied or not.
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
    """Mark the users without held-out events in the users' file, if there are any; returns their indices."""
    users = pq.read_table(path)
    mask = pc.is_in(users["user_id"], pa.array(sorted(raw.train_only), pa.string()))
    indices: list[int] = pc.indices_nonzero(mask).to_pylist()
    if indices:
        pq.write_table(users.append_column("train_only", mask), path)
        raw.findings.note(
            "users without a validation or test event: used for training only",
            len(indices),
            shortened(users["user_id"][indices[0]].as_py()),
        )
    return indices


def _write_catalogue(folder: Path, raw: RawDomain, items: list[str], report: ReadProgress) -> None:
    """Write the remaining items with their texts; of several texts for one item, the first by its UTF-8 bytes."""
    report("reading the items' texts", 0, None)
    texts: dict[str, str] = {}
    remaining = frozenset(items)
    for chunk in raw.items(remaining) if raw.has_text else ():
        for item, text in zip(chunk["item_id"].to_pylist(), chunk["text"].to_pylist(), strict=True):
            if item not in remaining:
                continue
            if item in texts:
                raw.findings.note("items described twice; the text that sorts first is used", 1, shortened(item))
            if text and (not texts.get(item) or text < texts[item]):  # independent of the order of lines
                texts[item] = text
            texts.setdefault(item, "")
    without_text = [item for item in items if not texts.get(item)]
    if raw.has_text and not texts:
        raise HarnessError(
            f"Domain {raw.name!r}: none of its {len(items):,} items is in the items file, the first is {items[0]!r}.",
            "Check that the items file belongs to the interactions, and the columns that are named.",
        )
    if without_text:
        raw.findings.note(
            "items without text: a language model sees an empty text", len(without_text), shortened(without_text[0])
        )
    table = pa.table({"item_id": pa.array(items), "text": pa.array([texts.get(item, "") for item in items])})
    pq.write_table(table, folder / CATALOGUE)


def _fingerprint(folder: Path, n_users: int, timed: bool, train_only: list[int]) -> str:
    """The fingerprint of a prepared domain, without loading it; equals `Domain.fingerprint`."""
    unit = "untimed"
    if timed:
        units = {coarsest_unit(part.to_numpy()) for part in _batches(folder / INTERACTIONS, "timestamp")}
        unit = min(units, key=NANOSECONDS.__getitem__)
    sha = Fingerprint()
    for file, column in ((USERS, "user_id"), (CATALOGUE, "item_id"), (CATALOGUE, "text")):
        sha.strings(text for part in _batches(folder / file, column) for text in part.to_pylist())
    lengths = np.zeros(n_users, dtype=np.int64)
    for part in _batches(folder / INTERACTIONS, "user"):
        lengths += np.bincount(part.to_numpy(), minlength=n_users)
    sha.integers(np.concatenate([[0], np.cumsum(lengths)]))
    for column, factor in (("item", 1), ("timestamp", NANOSECONDS.get(unit, 1))):
        for part in _batches(folder / INTERACTIONS, column):
            sha.integers(part.to_numpy() // factor)
    sha.train_only(train_only)
    return sha.hexdigest(unit)


def _batches(path: Path, column: str) -> Iterator[pa.Array]:
    for batch in pq.ParquetFile(path).iter_batches(_BATCH_SIZE, columns=[column]):
        yield batch.column(0)


def _copy(query: str, path: Path) -> str:
    escaped = str(path).replace("'", "''")
    return f"COPY ({query}) TO '{escaped}' (FORMAT parquet)"
