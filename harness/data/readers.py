"""Reading raw files chunk by chunk: delimited text, Parquet, lines of JSON or of Python literals.

Whatever a row holds, it ends up in a chunk or in the findings, with its place. A row's place counts from 1 with the
header line, so that it is the line number unless quoted fields span lines.
"""

import ast
import csv
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from harness.data.quoting import QuoteScanner
from harness.data.records import Findings, ReadProgress, no_read_progress
from harness.data.streams import missing_file, readable, text_blocks
from harness.errors import HarnessError

#: Records of JSON a chunk.
_RECORDS = 100_000
#: Stands for a delimiter of several bytes while text is parsed: ASCII's own separator of units.
_UNIT = b"\x1f"
#: Stands for a byte that is no text while text is parsed: Unicode's own for the inside of programs.
_NO_TEXT = "\ufdd0"
_EMPTY = "lines with nothing in them, passed over"


@dataclass(frozen=True)
class Chunk:
    """Some rows of a file.

    Attributes:
        path: the file.
        table: string columns under the names that were asked for; null where a record lacks the field.
        row: from an index into the table to the row's place in the file.
    """

    path: Path
    table: pa.Table
    row: Callable[[int], int]


@dataclass(frozen=True)
class Reader:
    """What every reading function needs beside its file.

    Attributes:
        findings: where unusable rows are counted.
        report: told how far the reading is, in bytes of the file.
    """

    findings: Findings
    report: ReadProgress = no_read_progress


@dataclass(frozen=True)
class TextFormat:
    """How a delimited text file is written.

    Attributes:
        delimiter: between fields; more than one character if need be.
        quoted: whether fields may stand in double quotes; if so, a file's own quotes tell whether they do.
        encoding: of the text.
        names: the columns' names where the file has no header line.
        typed_header: header cells read `name:type`, as in RecBole's atomic files.
    """

    delimiter: str = ","
    quoted: bool = True
    encoding: str = "utf-8"
    names: tuple[str, ...] | None = None
    typed_header: bool = False


@dataclass(frozen=True)
class _Layout:
    """What a file's head tells.

    Attributes:
        delimiter: one byte, or `_UNIT` in place of several.
        written: the delimiter as the file has it.
        names: of the columns.
        lines: how many come before the first row.
        quoted: whether names in the header line stand in quotes.
    """

    delimiter: bytes
    written: str
    names: tuple[str, ...]
    lines: int
    quoted: bool


def read_text(path: Path, columns: Sequence[str], form: TextFormat, reader: Reader) -> Iterator[Chunk]:
    """Some columns of a delimited text file, compressed or not.

    Rows with too few or too many fields, or with bytes that are not of the encoding, are dropped and counted. Rows
    with nothing in these columns, such as empty lines, are left out and noted.

    Raises:
        HarnessError: no such file, broken, a column is missing, nothing in it, or a row of over 32 MB.
    """
    layout = _layout(path, form)
    _check_columns(path, columns, layout.names)
    row = layout.lines + 1
    for text, rows, quoted, position in _records(path, form, layout, reader.findings):
        chunk, read = _parsed(path, text, columns, layout, quoted, row, reader.findings)
        if read != rows:
            raise HarnessError(
                f"{path} rows {row} to {row + rows - 1}: {read:,} rows were read where {rows:,} are.",
                "Mend the file, or say quoted: false in its layout if its quotes quote nothing.",
            )
        yield _without_marked(_without_empty(chunk, reader.findings), reader.findings)
        row += rows
        reader.report(f"reading {path.name}", position, path.stat().st_size)


def _layout(path: Path, form: TextFormat) -> _Layout:
    delimiter = form.delimiter.encode()
    single = delimiter if len(delimiter) == 1 else _UNIT
    if form.names:
        return _Layout(single, form.delimiter, form.names, 0, False)
    lines = 0
    for block, _ in text_blocks(path, form.encoding):
        for line in block.splitlines():
            lines += 1
            if line.strip():
                names, quoted = _header(path, line, lines, form)
                return _Layout(single, form.delimiter, names, lines, quoted)
    raise HarnessError(f"{path} is empty: it has no header line.", "Fetch the file again, or name its columns.")


def _header(path: Path, line: bytes, row: int, form: TextFormat) -> tuple[tuple[str, ...], bool]:
    if b"\0" in line:
        raise HarnessError(
            f"{path} row {row}: the header line holds NUL bytes: it is no text, or UTF-16 without a mark.",
            "Name its encoding.",
        )
    text = line.decode(errors="replace")
    cells, quoted = text.split(form.delimiter), False
    if form.quoted and '"' in text and len(form.delimiter.encode()) == 1:
        with suppress(csv.Error):  # then its quotes are part of the names
            cells, quoted = next(csv.reader([text], delimiter=form.delimiter, strict=True)), True
    if form.typed_header:
        cells = [cell.partition(":")[0] for cell in cells]
    return tuple(cells), quoted


def _rows(path: Path, form: TextFormat, layout: _Layout) -> Iterator[tuple[bytes, int]]:
    """The text after the head, as `text_blocks` gives it, with one byte between fields."""
    head, delimiter = layout.lines, form.delimiter.encode()
    for block, position in text_blocks(path, form.encoding):
        start = 0
        while head and start < len(block):
            start, head = block.index(b"\n", start) + 1, head - 1
        if text := block[start:].replace(delimiter, layout.delimiter):
            yield text, position


def _records(
    path: Path, form: TextFormat, layout: _Layout, findings: Findings
) -> Iterator[tuple[bytes, int, bool, int]]:
    """Whole records, how many there are, whether quotes in them quote, and the bytes of the file read so far."""
    quoted: bool | None = None if form.quoted else False
    sound = False
    scanner: QuoteScanner | None = None
    row, rest, position = layout.lines + 1, b"", 0
    unquoted = Findings()
    for block, position in _rows(path, form, layout):
        if quoted is None and b'"' in block:
            quoted, sound = _is_quoted(path, form, layout)
        if not quoted or sound:
            if b'"' in block and form.quoted and not quoted:
                with_quotes = [match.start() for match in re.finditer(rb'"[^\n]*\n', block)]
                first = row + block.count(b"\n", 0, with_quotes[0])
                unquoted.note("rows", len(with_quotes), f"{path} row {first}")
            rows = block.count(b"\n")
            yield block, rows, bool(quoted), position
            row += rows
            continue
        scanner = scanner or QuoteScanner(layout.delimiter, len(layout.names), True, row)
        text, rows, used = scanner.scan(rest + block, last=False)
        rest = (rest + block)[used:]
        if rows:
            yield text, rows, True, position
    if scanner is not None and rest:
        text, rows, _ = scanner.scan(rest, last=True)
        yield text, rows, True, position
    for finding in unquoted.noted.values():
        findings.note(
            "rows with double quotes, read as they stand: the file does not quote", finding.count, finding.first
        )
    if scanner is not None and scanner.literal:
        findings.note(
            "rows with a double quote that quotes nothing, read as it stands", scanner.literal,
            f"{path} line {scanner.first}",
        )  # fmt: skip


def _is_quoted(path: Path, form: TextFormat, layout: _Layout) -> tuple[bool, bool]:
    """Whether a file's quotes quote, and whether each line is then a sound record.

    They do if none stands where it could not, or if some rows make sense only so.
    """
    scanner = QuoteScanner(layout.delimiter, len(layout.names), doubtful=False)
    rest = b""
    for block, _ in _rows(path, form, layout):
        _, _, used = scanner.scan(rest + block, last=False)
        rest = (rest + block)[used:]
    if rest:
        scanner.scan(rest, last=True)
    return layout.quoted or scanner.certain > 0 or scanner.literal == 0, scanner.sound


def _parsed(
    path: Path, text: bytes, columns: Sequence[str], layout: _Layout, quoted: bool, row: int, findings: Findings
) -> tuple[Chunk, int]:
    """The records of a text whose first is at a row, and how many were met, malformed ones among them."""
    skipped: list[int] = []

    def malformed(found: Any) -> str:
        skipped.append(found.number - 1)
        place = row + found.number - 1
        if not found.text.strip():
            findings.note(_EMPTY, 1, f"{path} row {place}")
            return "skip"
        shown = found.text.replace(_UNIT.decode(), layout.written).replace(_NO_TEXT, "\ufffd")
        what = f"{found.actual_columns} fields where {found.expected_columns} are named"
        findings.drop("wrong number of fields", 1, path, place, f"{what}: {shown}")
        return "skip"

    # By number, as the file may name columns that are not read twice, or with bytes that are no text.
    wanted = {str(layout.names.index(name)): name for name in columns}
    marked = _marked(text)
    table = pyarrow.csv.read_csv(
        pa.py_buffer(marked),
        read_options=pyarrow.csv.ReadOptions(
            use_threads=False,  # only then are malformed rows numbered
            block_size=len(marked) + 1,
            column_names=[str(number) for number in range(len(layout.names))],
        ),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=layout.delimiter.decode("latin-1"),
            quote_char='"' if quoted else False,
            newlines_in_values=quoted,
            ignore_empty_lines=False,  # they count as places
            invalid_row_handler=malformed,
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(wanted, pa.string()),
            include_columns=list(wanted),
            strings_can_be_null=False,
        ),
    )
    if layout.delimiter == _UNIT and quoted:  # quoted fields may hold it
        cells = [pc.replace_substring(column, _UNIT.decode(), layout.written) for column in table.columns]
        table = pa.table(cells, names=table.column_names)
    places = np.delete(np.arange(row, row + len(table) + len(skipped)), skipped)
    return Chunk(path, table.rename_columns(list(wanted.values())), _at(places)), len(places) + len(skipped)


def _without_empty(chunk: Chunk, findings: Findings) -> Chunk:
    lengths = [pc.binary_length(column) for column in chunk.table.columns]
    empty = np.logical_and.reduce([np.asarray(length) == 0 for length in lengths])
    if not empty.any():
        return chunk
    findings.note(_EMPTY, int(empty.sum()), f"{chunk.path} row {chunk.row(int(empty.argmax()))}")
    return kept(chunk, pa.array(~empty))


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, by its name or its first bytes."""
    try:
        with path.open("rb") as file:
            return path.suffix == ".parquet" or file.read(4) == b"PAR1"
    except OSError as error:
        raise missing_file(path) from error


def read_parquet(path: Path, columns: Sequence[str], reader: Reader) -> Iterator[Chunk]:
    """Some columns of a Parquet file, as strings.

    A whole number reads the same whatever its type, 12 and not 12.0. Rows with bytes that are no UTF-8 are dropped
    and counted.

    Raises:
        HarnessError: no such file, no Parquet file, or a column is missing.
    """
    if not path.is_file():
        raise missing_file(path)
    with readable(path):
        file = pq.ParquetFile(path)
        _check_columns(path, columns, file.schema_arrow.names)
        before, rows = 0, file.metadata.num_rows
        for batch in file.iter_batches(batch_size=2**18, columns=list(dict.fromkeys(columns))):
            table = pa.table({name: _as_text(batch.column(name)) for name in batch.schema.names})
            yield _decoded(Chunk(path, table, _at(np.arange(before + 1, before + len(table) + 1))), reader.findings)
            before += len(table)
            reader.report(f"reading {path.name}", before, rows)


#: One line's bytes -> the record on it; ValueError if there is none.
LineParser = Callable[[bytes], Any]


def parse_json(line: bytes) -> Any:
    """A JSON value.

    Raises:
        ValueError: it is none.
    """
    return orjson.loads(line)


def parse_literal(line: bytes) -> Any:
    """A Python literal, as in Amazon's 2014 meta files: parsed, never evaluated.

    Raises:
        ValueError: it is none, or nested too deeply.
    """
    try:
        return ast.literal_eval(line.decode())
    except (SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"no Python literal: {type(error).__name__}") from error


def read_records(
    path: Path,
    fields: Sequence[str],
    parse: LineParser,
    reader: Reader,
    wanted: Callable[[bytes], bool] | None = None,
) -> Iterator[Chunk]:
    """Some fields of a file with one record a line, compressed or not, as strings; lists are joined by spaces.

    Args:
        path: the file.
        fields: keys of the records; the first must be in some record of the first thousand.
        parse: a line's bytes -> a dict.
        reader: where to count lines that hold no record.
        wanted: a quick look at a line's bytes; lines it declines are passed over unparsed.

    Raises:
        HarnessError: no such file, broken, nothing in it, a line of over 32 MB, or no record has the first field.
    """
    columns: dict[str, list[str | None]] = {name: [] for name in fields}
    rows: list[int] = []
    met: set[str] = set()
    number = 0

    def chunk() -> Chunk:
        table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
        places = tuple(rows)
        for values in columns.values():
            values.clear()
        rows.clear()
        return Chunk(path, table, places.__getitem__)

    for block, position in text_blocks(path):
        for line in block.splitlines():
            number += 1
            if not line.strip() or (wanted is not None and not wanted(line)):
                continue
            try:
                record = parse(line)
                if not isinstance(record, dict):
                    raise ValueError(f"a {type(record).__name__} where a record should be")  # noqa: TRY004 - as parsers do
                texts = {name: text_of(record.get(name)) for name in fields}
            except ValueError as error:
                shown = f"{error}: {line[:60].decode(errors='replace')}"
                reader.findings.drop("no record on the line", 1, path, number, shown)
                continue
            met.update(name for name in fields if name in record)
            for name, value in texts.items():
                columns[name].append(value)
            rows.append(number)
            if len(rows) == _RECORDS:
                yield chunk()
        reader.report(f"reading {path.name}", position, path.stat().st_size)
    if number == 0:
        raise HarnessError(f"{path} is empty.", "Fetch the file again.")
    if rows:
        yield chunk()
    if met and fields[0] not in met:
        raise HarnessError(f"{path}: no record has the field {fields[0]!r}.", "Check which file it is.")


def _check_columns(path: Path, columns: Sequence[str], names: Sequence[str]) -> None:
    for column in columns:
        if column not in names:
            raise HarnessError.unknown(f"column (in {path})", column, {_printable(name) for name in names})
        if list(names).count(column) > 1:
            raise HarnessError(f"{path} row 1: two columns are named {column!r}.", "Rename one of them.")


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "�" for c in name[:40])


def _at(places: NDArray[np.int64]) -> Callable[[int], int]:
    return lambda index: int(places[index])


def _marked(text: bytes) -> bytes:
    """The same text with `_NO_TEXT` for each byte that is no UTF-8, so that it costs its row and not the file."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return re.sub("[\udc80-\udcff]", _NO_TEXT, text.decode(errors="surrogateescape")).encode()
    return text


def _without_marked(chunk: Chunk, findings: Findings) -> Chunk:
    marks = [np.asarray(pc.match_substring(column, _NO_TEXT)) for column in chunk.table.columns]
    return _readable(chunk, ~np.logical_or.reduce(marks), findings)


def _decoded(chunk: Chunk, findings: Findings) -> Chunk:
    """The chunk with strings in place of bytes; rows with bytes that are no UTF-8 are dropped."""
    good = np.ones(len(chunk.table), dtype=bool)
    for column in chunk.table.columns:
        raw = column.cast(pa.binary())
        try:
            raw.cast(pa.string())
        except pa.ArrowInvalid:
            good &= [_is_utf8(value) for value in raw.to_pylist()]
    chunk = _readable(chunk, good, findings)
    strings = pa.schema([(name, pa.string()) for name in chunk.table.column_names])
    return Chunk(chunk.path, chunk.table.cast(strings), chunk.row)


def _readable(chunk: Chunk, good: NDArray[np.bool_], findings: Findings) -> Chunk:
    if good.all():
        return chunk
    first = chunk.row(int(good.argmin()))
    findings.drop("bytes that are not text in the file's encoding", int((~good).sum()), chunk.path, first)
    return kept(chunk, pa.array(good))


def kept(chunk: Chunk, mask: pa.BooleanArray) -> Chunk:
    """The rows of a chunk where the mask holds, which keep their places."""
    indices = pc.indices_nonzero(mask).to_numpy()
    return Chunk(chunk.path, chunk.table.filter(mask), lambda index: chunk.row(int(indices[index])))


def _is_utf8(value: bytes | None) -> bool:
    try:
        (value or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _as_text(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(column.type):
        # As ISO 8601, which is read for what it is whatever the unit of time is said to be; without a zone, UTC.
        zone = "UTC" if column.type.tz else None
        return column.cast(pa.timestamp(column.type.unit, zone)).cast(pa.string())
    if pa.types.is_nested(column.type):
        return pa.array(map(_nested_text, column), pa.binary())
    if pa.types.is_floating(column.type):
        return _number_texts(column.cast(pa.float64()))
    if pa.types.is_decimal(column.type):
        return pc.replace_substring_regex(column.cast(pa.string()), r"\.0+$", "")
    if pa.types.is_fixed_size_binary(column.type) or pa.types.is_large_binary(column.type):
        return column.cast(pa.binary())
    return column if pa.types.is_binary(column.type) else column.cast(pa.string())


def _nested_text(value: pa.Scalar) -> bytes | None:
    try:
        text = text_of(value.as_py())
    except (ValueError, OverflowError):
        return b"\xff"  # no text, which costs the row
    return None if text is None else text.encode()


def _number_texts(numbers: pa.Array) -> pa.Array:
    """Numbers as text, whole ones without a point: ids that are floats in one file are integers in the next."""
    values = np.nan_to_num(numbers.fill_null(0).to_numpy(zero_copy_only=False), nan=0.5, posinf=0.5, neginf=0.5)
    whole = (values == np.floor(values)) & (np.abs(values) < 2**63)
    integers = pa.array(np.where(whole, values, 0).astype(np.int64)).cast(pa.string())
    texts = pc.if_else(pa.array(whole), integers, numbers.cast(pa.string()))
    return pc.if_else(numbers.is_valid(), texts, pa.scalar(None, pa.string()))


def text_of(value: Any) -> str | None:
    """A field as text: what lists hold, however deep, joined by spaces; None if it holds nothing.

    Raises:
        ValueError: text that cannot be written as UTF-8 (lone surrogates), or a number that has lost digits.
    """
    if isinstance(value, str):
        value.encode()
        return value
    if value is None or isinstance(value, dict):
        return None
    if isinstance(value, list | tuple):
        parts: list[str] = []
        stack: list[Any] = [value]
        while stack:  # not by recursion: files nest deeper than Python calls
            first = stack.pop()
            if isinstance(first, list | tuple):
                stack.extend(reversed(first))
            elif text := text_of(first):
                parts.append(text)
        return " ".join(parts)
    if isinstance(value, float) and value.is_integer():
        if abs(value) >= 2**63:
            raise ValueError(f"the number {value} has lost digits")
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, set | frozenset):  # in no order that stays
        return " ".join(sorted(str(part) for part in value))
    return str(value)


def numbers_of(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Texts as float64 [n], NaN where one is no number; pandas' own parser dies of exponents with many digits."""
    try:
        return np.asarray(column.cast(pa.float64()))
    except pa.ArrowInvalid:
        return np.array([_number(text) for text in column.to_pylist()], dtype=np.float64)


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


_SPACE = re.compile(r"\s+")


def one_line(text: str) -> str:
    """Text with every run of white space as one space."""
    return _SPACE.sub(" ", text).strip()
