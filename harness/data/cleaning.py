"""From strings to interactions and items: what cannot be used is dropped and counted, by reason."""

import time
from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from harness.data.markup import without_html
from harness.data.raw import INTERACTIONS, ITEMS, Findings
from harness.data.readers import Chunk, kept, numbers_of, one_line
from harness.errors import HarnessError

TimeUnit = Literal["s", "ms", "date"]

#: A clock of another machine may be ahead by so much, in seconds.
_AHEAD = 86_400


def interactions(
    chunks: Iterable[Chunk], columns: tuple[str, str, str], unit: TimeUnit, findings: Findings
) -> Iterator[pa.Table]:
    """Chunks of interactions with sound ids and instants.

    Args:
        chunks: string columns.
        columns: names of the user, item and time columns.
        unit: `s` or `ms` since 1970, or `date` for what ISO 8601 allows.
        findings: where dropped rows are counted: no id; a time that is none, negative or in the future.

    Raises:
        HarnessError: more than half of the rows are unusable: then it is the wrong file, column or unit.
    """
    now = int(time.time()) + _AHEAD
    read = used = 0
    last: Chunk | None = None
    before = findings.unusable
    for last in chunks:
        chunk = last
        read += len(chunk.table)
        user, item, when = columns
        for column, kind in ((user, "user"), (item, "item")):
            chunk = _without(chunk, _blank(chunk.table[column]), f"no {kind} id", findings)
        instants = _instants(chunk.table[when], unit)
        for bad, reason in (
            (np.isnan(instants), "a timestamp that is none"),
            (instants < 0, "a negative timestamp"),
            (instants > now, "a timestamp in the future" + (" (milliseconds?)" if unit == "s" else "")),
        ):
            _count(chunk, bad, reason, when, findings)
        good = (instants >= 0) & (instants <= now)  # false for NaN
        table = chunk.table.filter(pa.array(good))
        used += len(table)
        columns_out = [table[user], table[item], pa.array(np.floor(instants[good]).astype(np.int64))]
        yield pa.table([column.combine_chunks() for column in map(_plain, columns_out)], schema=INTERACTIONS)
    lost = findings.unusable - before
    if last is not None and lost > used:
        reasons = {reason: finding for reason, finding in findings.dropped.items() if not finding.wished}
        worst = max(reasons, key=lambda reason: reasons[reason].count)
        raise HarnessError(
            f"{last.path}: {lost:,} of {lost + used:,} rows are unusable, most for {worst}; "
            f"the first is {reasons[worst].first}.",
            "Check the file, the columns that are named, and the unit of time.",
        )


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


def joined(fields: Iterable[str | None], findings: Findings, clean_html: bool) -> str:
    """An item's text of its fields, on one line; texts that change when HTML is taken out are noted."""
    text = one_line(" ".join(field for field in fields if field))
    if clean_html and (plain := one_line(without_html(text))) != text:
        findings.note("texts with HTML, which was taken out", 1, text)
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


def _instants(column: pa.ChunkedArray, unit: TimeUnit) -> NDArray[np.float64]:
    """Unix seconds as float64, exact up to 2^53; NaN where there is no instant, infinity where it is too large."""
    if unit == "date":
        parsed = pd.to_datetime(column.to_pandas(), errors="coerce", utc=True, format="ISO8601")
        seconds = parsed.dt.as_unit("s").astype("int64").to_numpy().astype(np.float64)
        return np.where(parsed.isna().to_numpy(), np.nan, seconds)
    try:
        numbers: NDArray[np.float64] = column.cast(pa.int64()).to_numpy().astype(np.float64)
    except pa.ArrowInvalid:
        numbers = numbers_of(column)
    return numbers / 1000 if unit == "ms" else numbers


def _plain(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray:
    return column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
