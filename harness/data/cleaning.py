"""From strings to interactions and items: what cannot be used is dropped and counted, by reason."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from harness.data.markup import without_html
from harness.data.readers import Chunk, kept, one_line
from harness.data.records import INTERACTIONS, ITEMS, Findings, shortened
from harness.data.times import NANOSECONDS, Instants, TimeUnit, fitting_unit, read_times, unit_by_size
from harness.errors import HarnessError

#: A clock of another machine may be ahead by so much, in nanoseconds.
_AHEAD = 86_400 * 10**9


def interactions(
    chunks: Iterable[Chunk],
    columns: tuple[str, str, str],
    unit: TimeUnit,
    findings: Findings,
    time_format: str = "",
) -> Iterator[pa.Table]:
    """Chunks of interactions with sound ids and instants.

    Args:
        chunks: string columns.
        columns: names of the user, item and time columns.
        unit: of times that are numbers; see `harness.data.times`.
        findings: where dropped rows are counted: no id; a time that is none, negative or in the future.
        time_format: of times, as `datetime.strptime` has it; empty for numbers and ISO 8601.

    Raises:
        HarnessError: more than half of the rows are unusable: then it is the wrong file, column or unit; or more
            than half of the times lie in January 1970 or in the future, and would not in another unit.
    """
    latest = time.time_ns() + _AHEAD
    read = used = 0
    other_units: Counter[str] = Counter()
    last: Chunk | None = None
    before = findings.unusable
    for last in chunks:
        chunk = last
        read += len(chunk.table)
        user, item, when = columns
        chunk = _with_ids(chunk, user, item, findings)
        instants = read_times(_plain(chunk.table[when]).combine_chunks(), unit, latest, time_format)
        fits = _count_fitting(instants, unit, latest, other_units)
        for bad, reason in (
            (instants.missing, "a timestamp that is none"),
            (instants.negative, "a negative timestamp"),
            (instants.future & (fits == ""), "a timestamp in the future"),
            *((instants.future & (fits == u), f"a timestamp in the future (not if it is in {u})") for u in NANOSECONDS),
        ):
            _count(chunk, bad, reason, when, findings)
        if unit == "auto":
            _note_units(chunk, instants, findings)
        table = chunk.table.filter(pa.array(instants.usable))
        used += len(table)
        columns_out = [table[user], table[item], pa.array(instants.nanoseconds[instants.usable])]
        yield pa.table([column.combine_chunks() for column in map(_plain, columns_out)], schema=INTERACTIONS)
    lost = findings.unusable - before
    if last is not None:
        _check_unit(last, unit, other_units, read)
        _check_usable(last, lost, used, findings)


def rows_in_order(chunks: Iterable[Chunk], columns: tuple[str, str], findings: Findings) -> Iterator[pa.Table]:
    """Chunks of interactions without instants: the order of the rows stands for time.

    Args:
        chunks: string columns.
        columns: names of the user and item columns.
        findings: where dropped rows are counted: no id.

    Raises:
        HarnessError: more than half of the rows are unusable: then it is the wrong file or column.
    """
    used = 0
    last: Chunk | None = None
    before = findings.unusable
    for last in chunks:
        user, item = columns
        table = _with_ids(last, user, item, findings).table
        columns_out = [table[user], table[item], pa.array(np.arange(used, used + len(table)))]
        used += len(table)
        yield pa.table([column.combine_chunks() for column in map(_plain, columns_out)], schema=INTERACTIONS)
    lost = findings.unusable - before
    if last is not None:
        _check_usable(last, lost, used, findings)


def items(
    chunks: Iterable[Chunk], key: str, text: tuple[str, ...], findings: Findings, clean_html: bool = False
) -> Iterator[pa.Table]:
    """Chunks of items; an item's text is its text fields in order, joined by spaces, on one line.

    HTML is taken out of texts if that is asked for. A row without id is dropped and counted. Rows without text stay:
    whether that matters is known when the catalogue is made.
    """
    for chunk in chunks:
        sound = _without(chunk, _blank(chunk.table[key]), "no item id", findings)
        fields = [sound.table[name].to_pylist() for name in text]
        texts = [joined(parts, findings, clean_html) for parts in zip(*fields, strict=True)]
        yield pa.table([_plain(sound.table[key]).combine_chunks(), pa.array(texts, pa.string())], schema=ITEMS)


def _with_ids(chunk: Chunk, user: str, item: str, findings: Findings) -> Chunk:
    for column, kind in ((user, "user"), (item, "item")):
        chunk = _without(chunk, _blank(chunk.table[column]), f"no {kind} id", findings)
    return chunk


def _check_usable(last: Chunk, lost: int, used: int, findings: Findings) -> None:
    if lost > used:
        reasons = {reason: finding for reason, finding in findings.dropped.items() if not finding.wished}
        worst = max(reasons, key=lambda reason: reasons[reason].count)
        raise HarnessError(
            f"{last.path}: {lost:,} of {lost + used:,} rows are unusable, most for {worst}; "
            f"the first is {reasons[worst].first}.",
            "Check the file, the columns that are named, and the unit of time.",
        )


def _count_fitting(instants: Instants, unit: TimeUnit, latest: int, other_units: Counter[str]) -> NDArray[np.str_]:
    """For each row in January 1970 or the future, the unit in which it lies between 1980 and now; empty where none."""
    if unit == "auto":
        return np.full(len(instants.numbers), "")
    fits = np.where(instants.suspicious, fitting_unit(instants.numbers, latest), "")
    other_units.update(fits[fits != ""].tolist())
    return fits


def _note_units(chunk: Chunk, instants: Instants, findings: Findings) -> None:
    numbers = instants.numbers[instants.usable & instants.is_number]
    for unit, count in Counter(unit_by_size(numbers).tolist()).items():
        findings.note(f"timestamps read as {unit}, by their size", count, str(chunk.path))


def _check_unit(last: Chunk, unit: TimeUnit, other_units: Counter[str], read: int) -> None:
    best, count = max(other_units.items(), key=lambda item: item[1], default=("", 0))
    if count > read / 2:
        finer = NANOSECONDS[best] < NANOSECONDS[unit]
        raise HarnessError(
            f"{last.path}: read as {unit}, {count:,} of {read:,} timestamps lie in "
            f"{'the future' if finer else 'January 1970'}; read as {best}, they lie between 1980 and today.",
            f"Say time_unit: {best}.",
        )


def joined(fields: Iterable[str | None], findings: Findings, clean_html: bool) -> str:
    """An item's text of its fields, on one line; texts that change when HTML is taken out are noted."""
    text = one_line(" ".join(field for field in fields if field))
    if clean_html and (plain := one_line(without_html(text))) != text:
        findings.note("texts with HTML, which was taken out", 1, shortened(text))
        return plain
    return text


def _blank(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(pc.equal(pc.fill_null(pc.utf8_trim_whitespace(column), ""), ""))


def _without(chunk: Chunk, bad: NDArray[np.bool_], reason: str, findings: Findings) -> Chunk:
    if not bad.any():
        return chunk
    findings.drop(reason, int(bad.sum()), chunk.path, chunk.row(int(bad.argmax())))
    return kept(chunk, pa.array(~bad))


def _count(chunk: Chunk, bad: NDArray[np.bool_], reason: str, column: str, findings: Findings) -> None:
    if bad.any():
        first = int(bad.argmax())
        detail = str(chunk.table[column][first].as_py())
        findings.drop(reason, int(bad.sum()), chunk.path, chunk.row(first), detail)


def _plain(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray:
    return column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
