"""Read delimited text files: CSV, TSV and files with separators of several characters."""

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from harness.data.quoting import QuoteScanner
from harness.data.readers.chunk import Chunk, Reader, check_columns, drop_undecodable, row_lookup, select_rows
from harness.data.records import Findings
from harness.data.streams import text_blocks
from harness.errors import HarnessError

#: Replaces a delimiter of several bytes while text is parsed: ASCII's unit separator.
_UNIT_SEPARATOR = b"\x1f"
#: Replaces a byte that is not text while text is parsed: a Unicode noncharacter.
_NOT_TEXT = "\ufdd0"
_EMPTY_LINES = "lines with nothing in them, skipped"


@dataclass(frozen=True)
class TextFormat:
    """The format of a delimited text file.

    Attributes:
        delimiter: between fields; may be several characters.
        quoted: whether fields may be in double quotes. If so, the file's own quotes decide whether they are.
        encoding: of the text.
        names: the columns' names if the file has no header line.
        typed_header: whether header cells are written `name:type`, as in RecBole's atomic files.
    """

    delimiter: str = ","
    quoted: bool = True
    encoding: str = "utf-8"
    names: tuple[str, ...] | None = None
    typed_header: bool = False


@dataclass(frozen=True)
class _Header:
    """The start of a file.

    Attributes:
        delimiter: one byte, `_UNIT_SEPARATOR` in place of several.
        written_delimiter: the delimiter in the file.
        names: of the columns.
        lines: number of lines before the first row.
        quoted: whether names in the header line are in quotes.
    """

    delimiter: bytes
    written_delimiter: str
    names: tuple[str, ...]
    lines: int
    quoted: bool


@dataclass(frozen=True)
class _Records:
    """Some whole records of a file.

    Attributes:
        text: the records.
        count: how many they are.
        quoted: whether double quotes in them quote fields.
        position: bytes of the file read so far.
    """

    text: bytes
    count: int
    quoted: bool
    position: int


def read_text(path: Path, columns: Sequence[str], form: TextFormat, reader: Reader) -> Iterator[Chunk]:
    """Read some columns of a delimited text file, compressed or not.

    Rows with too few or too many fields, or with bytes that are not of the encoding, are dropped and counted. Rows
    that are empty in all these columns, such as empty lines, are skipped and noted.

    Raises:
        HarnessError: the file is missing, broken or empty, lacks a column, or has a row of over 32 MB.
    """
    header = _read_header(path, form)
    check_columns(path, columns, header.names)
    row = header.lines + 1
    for records in _read_records(path, form, header, reader.findings):
        chunk, parsed = _parse(path, records, columns, header, row, reader.findings)
        if parsed != records.count:
            raise HarnessError(
                f"{path} rows {row} to {row + records.count - 1}: parsed {parsed:,} rows instead of {records.count:,}.",
                "Fix the file, or set quoted: false in its layout if its double quotes do not quote fields.",
            )
        yield _drop_marked(_skip_empty(chunk, reader.findings), reader.findings)
        row += records.count
        reader.report(f"reading {path.name}", records.position, path.stat().st_size)


def _read_header(path: Path, form: TextFormat) -> _Header:
    delimiter = form.delimiter.encode()
    single = delimiter if len(delimiter) == 1 else _UNIT_SEPARATOR
    if form.names:
        return _Header(single, form.delimiter, form.names, 0, False)
    lines = 0
    for block, _ in text_blocks(path, form.encoding):
        for line in block.splitlines():
            lines += 1
            if line.strip():
                names, quoted = _header_names(path, line, lines, form)
                return _Header(single, form.delimiter, names, lines, quoted)
    raise HarnessError(f"{path} is empty: it has no header line.", "Fetch the file again, or name its columns.")


def _header_names(path: Path, line: bytes, row: int, form: TextFormat) -> tuple[tuple[str, ...], bool]:
    """The columns' names, and whether they are in quotes."""
    if b"\0" in line:
        raise HarnessError(
            f"{path} row {row}: the header line has NUL bytes: it is not text, or UTF-16 without a byte order mark.",
            "Name its encoding.",
        )
    text = line.decode(errors="replace")
    cells, quoted = text.split(form.delimiter), False
    if form.quoted and '"' in text and len(form.delimiter.encode()) == 1:
        with suppress(csv.Error):  # then the quotes are part of the names
            cells, quoted = next(csv.reader([text], delimiter=form.delimiter, strict=True)), True
    if form.typed_header:
        cells = [cell.partition(":")[0] for cell in cells]
    return tuple(cells), quoted


def _read_rows(path: Path, form: TextFormat, header: _Header) -> Iterator[tuple[bytes, int]]:
    """The text after the header, as from `text_blocks`, with one byte between fields."""
    skip, delimiter = header.lines, form.delimiter.encode()
    for block, position in text_blocks(path, form.encoding):
        start = 0
        while skip and start < len(block):
            start, skip = block.index(b"\n", start) + 1, skip - 1
        if text := block[start:].replace(delimiter, header.delimiter):
            yield text, position


def _read_records(path: Path, form: TextFormat, header: _Header, findings: Findings) -> Iterator[_Records]:
    """Whole records, with stray double quotes escaped."""
    quoted: bool | None = None if form.quoted else False
    sound = False
    scanner: QuoteScanner | None = None
    row, rest, position = header.lines + 1, b"", 0
    unquoted_rows, first_unquoted = 0, 0
    for block, position in _read_rows(path, form, header):
        if quoted is None and b'"' in block:
            quoted, sound = _is_quoted(path, form, header)
        if not quoted or sound:
            if b'"' in block and form.quoted and not quoted:
                starts = [match.start() for match in re.finditer(rb'"[^\n]*\n', block)]
                first_unquoted = first_unquoted or row + block.count(b"\n", 0, starts[0])
                unquoted_rows += len(starts)
            count = block.count(b"\n")
            yield _Records(block, count, bool(quoted), position)
            row += count
            continue
        scanner = scanner or QuoteScanner(header.delimiter, len(header.names), True, row)
        text, count, used = scanner.scan(rest + block, last=False)
        rest = (rest + block)[used:]
        if count:
            yield _Records(text, count, True, position)
    if scanner is not None and rest:
        text, count, _ = scanner.scan(rest, last=True)
        yield _Records(text, count, True, position)
    if unquoted_rows:
        oddity = "rows with double quotes, kept as text: the file does not quote fields"
        findings.note(oddity, unquoted_rows, f"{path} row {first_unquoted}")
    if scanner is not None and scanner.literal:
        oddity = "rows with a stray double quote, kept as text"
        findings.note(oddity, scanner.literal, f"{path} line {scanner.first}")


def _is_quoted(path: Path, form: TextFormat, header: _Header) -> tuple[bool, bool]:
    """Whether a file's double quotes quote fields, and whether each of its lines is then a sound record.

    They do if all of them are where quoting allows one, or if some rows are records only with quoting.
    """
    scanner = QuoteScanner(header.delimiter, len(header.names), doubtful=False)
    rest = b""
    for block, _ in _read_rows(path, form, header):
        _, _, used = scanner.scan(rest + block, last=False)
        rest = (rest + block)[used:]
    if rest:
        scanner.scan(rest, last=True)
    return header.quoted or scanner.certain > 0 or scanner.literal == 0, scanner.sound


def _parse(
    path: Path, records: _Records, columns: Sequence[str], header: _Header, row: int, findings: Findings
) -> tuple[Chunk, int]:
    """Parse records, the first of which is at a row; also return how many there were, malformed ones included."""
    skipped: list[int] = []

    def on_malformed_row(malformed: Any) -> str:
        skipped.append(malformed.number - 1)
        malformed_row = row + malformed.number - 1
        if not malformed.text.strip():
            findings.note(_EMPTY_LINES, 1, f"{path} row {malformed_row}")
            return "skip"
        written = malformed.text.replace(_UNIT_SEPARATOR.decode(), header.written_delimiter)
        counts = f"{malformed.actual_columns} fields instead of {malformed.expected_columns}"
        detail = f"{counts}: {written.replace(_NOT_TEXT, chr(0xFFFD))}"
        findings.drop("wrong number of fields", 1, path, malformed_row, detail)
        return "skip"

    # Columns go by number: the file may have unread columns with equal names or names that are not text.
    numbered = {str(header.names.index(name)): name for name in columns}
    text = _mark_not_text(records.text)
    table = pyarrow.csv.read_csv(
        pa.py_buffer(text),
        read_options=pyarrow.csv.ReadOptions(
            use_threads=False,  # malformed rows are numbered only without threads
            block_size=len(text) + 1,
            column_names=[str(number) for number in range(len(header.names))],
        ),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=header.delimiter.decode("latin-1"),
            quote_char='"' if records.quoted else False,
            newlines_in_values=records.quoted,
            ignore_empty_lines=False,  # they count as rows
            invalid_row_handler=on_malformed_row,
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(numbered, pa.string()),
            include_columns=list(numbered),
            strings_can_be_null=False,
        ),
    )
    if header.delimiter == _UNIT_SEPARATOR and records.quoted:  # quoted fields may contain it
        separator = _UNIT_SEPARATOR.decode()
        cells = [pc.replace_substring(column, separator, header.written_delimiter) for column in table.columns]
        table = pa.table(cells, names=table.column_names)
    rows = np.delete(np.arange(row, row + len(table) + len(skipped)), skipped)
    chunk = Chunk(path, table.rename_columns(list(numbered.values())), row_lookup(rows))
    return chunk, len(rows) + len(skipped)


def _skip_empty(chunk: Chunk, findings: Findings) -> Chunk:
    lengths = [pc.binary_length(column) for column in chunk.table.columns]
    empty = np.logical_and.reduce([np.asarray(length) == 0 for length in lengths])
    if not empty.any():
        return chunk
    findings.note(_EMPTY_LINES, int(empty.sum()), f"{chunk.path} row {chunk.row(int(empty.argmax()))}")
    return select_rows(chunk, pa.array(~empty))


def _mark_not_text(text: bytes) -> bytes:
    """Replace each byte that is not UTF-8 by `_NOT_TEXT`, so that its row is dropped and not the whole file."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return re.sub("[\udc80-\udcff]", _NOT_TEXT, text.decode(errors="surrogateescape")).encode()
    return text


def _drop_marked(chunk: Chunk, findings: Findings) -> Chunk:
    marks = [np.asarray(pc.match_substring(column, _NOT_TEXT)) for column in chunk.table.columns]
    return drop_undecodable(chunk, ~np.logical_or.reduce(marks), findings)
