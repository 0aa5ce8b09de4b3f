"""Turn string columns into interactions and items; unusable rows are dropped and counted by reason."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from harness.data.readers import Chunk, select_rows
from harness.data.records import INTERACTIONS, ITEMS, Findings, shortened
from harness.data.text import one_line, without_html
from harness.data.times import NANOSECONDS, Instants, TimeUnit, fitting_unit, read_times, unit_by_size
from harness.errors import HarnessError

#: How far ahead another machine's clock may be, in nanoseconds.
_CLOCK_TOLERANCE = 86_400 * 10**9


def interactions(
    chunks: Iterable[Chunk],
    columns: tuple[str, str, str],
    unit: TimeUnit,
    findings: Findings,
    time_format: str = "",
) -> Iterator[pa.Table]:
    """Chunks of interactions with valid ids and timestamps.

    Args:
        chunks: string columns.
        columns: names of the user, item and time columns.
        unit: of times that are numbers; see `harness.data.times`.
        findings: where dropped rows are counted: those without an id, or with a time that is missing, negative or in
            the future.
        time_format: of times, as in `datetime.strptime`; empty for numbers and ISO 8601.

    Raises:
        HarnessError: more than half of the rows are unusable, so that the file, a column or the unit must be wrong; or
            more than half of the times are in January 1970 or the future and would not be in another unit.
    """
    latest = time.time_ns() + _CLOCK_TOLERANCE
    user, item, when = columns
    n_read = n_used = 0
    other_units: Counter[str] = Counter()
    last: Chunk | None = None
    unusable_before = findings.unusable
    for last in chunks:
        n_read += len(last.table)
        chunk = _drop_missing_ids(last, user, item, findings)
        instants = read_times(_chunked(chunk.table[when]).combine_chunks(), unit, latest, time_format)
        fits = _count_fitting(instants, unit, latest, other_units)
        for bad, reason in (
            (instants.missing, "not a timestamp"),
            (instants.negative, "a negative timestamp"),
            (instants.future & (fits == ""), "a timestamp in the future"),
            *((instants.future & (fits == u), f"a timestamp in the future (not if it is in {u})") for u in NANOSECONDS),
        ):
            _count_dropped(chunk, bad, reason, when, findings)
        if unit == "auto":
            _note_units(chunk, instants, findings)
        table = chunk.table.filter(pa.array(instants.usable))
        n_used += len(table)
        yield _interaction_table(table[user], table[item], pa.array(instants.nanoseconds[instants.usable]))
    if last is not None:
        _check_unit(last, unit, other_units, n_read)
        _check_usable(last, findings.unusable - unusable_before, n_used, findings)


def rows_in_order(chunks: Iterable[Chunk], columns: tuple[str, str], findings: Findings) -> Iterator[pa.Table]:
    """Chunks of interactions without timestamps, ordered as the rows are.

    Args:
        chunks: string columns.
        columns: names of the user and item columns.
        findings: where dropped rows are counted: those without an id.

    Raises:
        HarnessError: more than half of the rows are unusable, so that the file or a column must be wrong.
    """
    user, item = columns
    n_used = 0
    last: Chunk | None = None
    unusable_before = findings.unusable
    for last in chunks:
        table = _drop_missing_ids(last, user, item, findings).table
        yield _interaction_table(table[user], table[item], pa.array(np.arange(n_used, n_used + len(table))))
        n_used += len(table)
    if last is not None:
        _check_usable(last, findings.unusable - unusable_before, n_used, findings)


def items(
    chunks: Iterable[Chunk], key: str, text: tuple[str, ...], findings: Findings, clean_html: bool = False
) -> Iterator[pa.Table]:
    """Chunks of items. An item's text is its text fields in order, joined by spaces, on one line.

    Rows without an id are dropped and counted. Rows without a text stay: whether the item is needed is not known yet.

    Args:
        chunks: string columns.
        key: name of the id column.
        text: names of the text columns.
        findings: where dropped rows and removed HTML are counted.
        clean_html: whether to remove HTML from texts.
    """
    for chunk in chunks:
        identified = _drop(chunk, _is_blank(chunk.table[key]), "no item id", findings)
        fields = [identified.table[name].to_pylist() for name in text]
        texts = [join_fields(parts, findings, clean_html) for parts in zip(*fields, strict=True)]
        yield pa.table([_chunked(identified.table[key]).combine_chunks(), pa.array(texts, pa.string())], schema=ITEMS)


def join_fields(fields: Iterable[str | None], findings: Findings, clean_html: bool) -> str:
    """Join an item's text fields on one line; note texts from which HTML is removed."""
    text = one_line(" ".join(field for field in fields if field))
    if clean_html and (plain := one_line(without_html(text))) != text:
        findings.note("texts with HTML, which was removed", 1, shortened(text))
        return plain
    return text


def _interaction_table(users: pa.ChunkedArray, items: pa.ChunkedArray, timestamps: pa.Array) -> pa.Table:
    columns = [_chunked(column).combine_chunks() for column in (users, items, timestamps)]
    return pa.table(columns, schema=INTERACTIONS)


def _drop_missing_ids(chunk: Chunk, user: str, item: str, findings: Findings) -> Chunk:
    for column, kind in ((user, "user"), (item, "item")):
        chunk = _drop(chunk, _is_blank(chunk.table[column]), f"no {kind} id", findings)
    return chunk


def _check_usable(last: Chunk, n_unusable: int, n_used: int, findings: Findings) -> None:
    if n_unusable > n_used:
        reasons = {reason: finding for reason, finding in findings.dropped.items() if not finding.intended}
        commonest = max(reasons, key=lambda reason: reasons[reason].count)
        raise HarnessError(
            f"{last.path}: {n_unusable:,} of {n_unusable + n_used:,} rows are unusable, most for {commonest}; "
            f"the first is {reasons[commonest].first}.",
            "Check the file, the names of the columns, and the unit of time.",
        )


def _count_fitting(instants: Instants, unit: TimeUnit, latest: int, other_units: Counter[str]) -> NDArray[np.str_]:
    """For each row in January 1970 or the future, a unit that puts it between 1980 and now; empty if there is none."""
    if unit == "auto":
        return np.full(len(instants.numbers), "")
    fits = np.where(instants.suspicious, fitting_unit(instants.numbers, latest), "")
    other_units.update(fits[fits != ""].tolist())
    return fits


def _note_units(chunk: Chunk, instants: Instants, findings: Findings) -> None:
    numbers = instants.numbers[instants.usable & instants.is_number]
    for unit, count in Counter(unit_by_size(numbers).tolist()).items():
        findings.note(f"timestamps read as {unit}, by their size", count, str(chunk.path))


def _check_unit(last: Chunk, unit: TimeUnit, other_units: Counter[str], n_read: int) -> None:
    best, count = max(other_units.items(), key=lambda item: item[1], default=("", 0))
    if count > n_read / 2:
        finer = NANOSECONDS[best] < NANOSECONDS[unit]
        raise HarnessError(
            f"{last.path}: read as {unit}, {count:,} of {n_read:,} timestamps are in "
            f"{'the future' if finer else 'January 1970'}; read as {best}, they are between 1980 and today.",
            f"Set time_unit: {best}.",
        )


def _is_blank(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(pc.equal(pc.fill_null(pc.utf8_trim_whitespace(column), ""), ""))


def _drop(chunk: Chunk, bad: NDArray[np.bool_], reason: str, findings: Findings) -> Chunk:
    if not bad.any():
        return chunk
    findings.drop(reason, int(bad.sum()), chunk.path, chunk.row(int(bad.argmax())))
    return select_rows(chunk, pa.array(~bad))


def _count_dropped(chunk: Chunk, bad: NDArray[np.bool_], reason: str, column: str, findings: Findings) -> None:
    if bad.any():
        first = int(bad.argmax())
        detail = str(chunk.table[column][first].as_py())
        findings.drop(reason, int(bad.sum()), chunk.path, chunk.row(first), detail)


def _chunked(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray:
    return column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
