"""Reading raw files chunk by chunk: delimited text, Parquet, lines of JSON or of Python literals.

Whatever a row holds, it ends up in a chunk or in the findings, with its place. A row's place counts from 1 with the
header line, so that it is the line number unless quoted fields span lines.
"""

import ast
import csv
import gzip
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from harness.data.raw import Findings, Report, silent
from harness.errors import HarnessError

#: Text is parsed in blocks of so many bytes, so a row may not be longer.
_BLOCK = 2**25
#: Records of JSON a chunk.
_RECORDS = 100_000
_GZIP_MAGIC = b"\x1f\x8b"


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
    report: Report = silent


@dataclass(frozen=True)
class TextFormat:
    """How a delimited text file is written.

    Attributes:
        delimiter: between fields; more than one character if need be.
        quoted: whether fields may stand in double quotes.
        encoding: of the text.
        names: the columns' names where the file has no header line.
        typed_header: header cells read `name:type`, as in RecBole's atomic files.
    """

    delimiter: str = ","
    quoted: bool = True
    encoding: str = "utf-8"
    names: tuple[str, ...] | None = None
    typed_header: bool = False


def read_text(path: Path, columns: Sequence[str], form: TextFormat, reader: Reader) -> Iterator[Chunk]:
    """Some columns of a delimited text file, plain or gzipped.

    Rows with too few or too many fields, or with bytes that are not of the encoding, are dropped and counted.

    Raises:
        HarnessError: no such file, a column is missing, nothing in it, not gzip or cut short, a row of over 32 MB.
    """
    names = form.names or _header(path, form)
    _check_columns(path, columns, names)
    skipped: list[int] = []

    def malformed(row: Any) -> str:
        skipped.append(row.number)
        found = f"{row.actual_columns} fields where {row.expected_columns} are named"
        reader.findings.drop("wrong number of fields", 1, path, row.number, f"{found}: {row.text}")
        return "skip"

    with open_bytes(path) as (file, place), _unreadable(path):
        source = _Replacing(file, form.delimiter.encode(), b"\t") if len(form.delimiter) > 1 else file
        batches = pyarrow.csv.open_csv(
            pa.PythonFile(source, mode="r"),
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False,  # only then are malformed rows numbered
                block_size=_BLOCK,
                column_names=list(names),
                skip_rows=0 if form.names else 1,
                encoding=form.encoding,
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=form.delimiter if len(form.delimiter) == 1 else "\t",
                quote_char='"' if form.quoted else False,
                newlines_in_values=form.quoted,
                ignore_empty_lines=False,  # they count as places
                invalid_row_handler=malformed,
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={name: pa.string() for name in columns},
                include_columns=list(dict.fromkeys(columns)),
                strings_can_be_null=False,
                check_utf8=False,  # a bad byte should cost its row, not the file
            ),
        )
        before = 0
        for batch in batches:
            table = pa.Table.from_batches([batch])
            yield _decoded(Chunk(path, table, _numbering(before, skipped, 0 if form.names else 1)), reader)
            before += len(table)
            reader.report(f"reading {path.name}", place(), path.stat().st_size)


def read_parquet(path: Path, columns: Sequence[str], reader: Reader) -> Iterator[Chunk]:
    """Some columns of a Parquet file, as strings.

    Raises:
        HarnessError: no such file, no Parquet file, or a column is missing.
    """
    with _unreadable(path):
        if not path.is_file():
            raise missing_file(path)
        file = pq.ParquetFile(path)
        _check_columns(path, columns, file.schema_arrow.names)
        before, rows = 0, file.metadata.num_rows
        for batch in file.iter_batches(batch_size=2**18, columns=list(dict.fromkeys(columns))):
            table = pa.table({name: _as_text(batch.column(name)) for name in batch.schema.names})
            start = before + 1
            yield Chunk(path, table, lambda index, start=start: start + index)  # type: ignore[misc]
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
    """Some fields of a file with one record a line, plain or gzipped, as strings; lists are joined by spaces.

    Args:
        path: the file.
        fields: keys of the records; the first must be in some record of the first thousand.
        parse: a line's bytes -> a dict.
        reader: where to count lines that hold no record.
        wanted: a quick look at a line's bytes; lines it declines are passed over unparsed.

    Raises:
        HarnessError: no such file, nothing in it, not gzip or cut short, a line of over 32 MB, no record has a field.
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

    with open_bytes(path) as (file, place), _unreadable(path):
        while line := file.readline(_BLOCK):
            number += 1
            if len(line) == _BLOCK:
                raise HarnessError(f"{path} row {number}: the line is longer than 32 MB.", "Check what the file is.")
            if not line.strip() or (wanted is not None and not wanted(line)):
                continue
            try:
                record = parse(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
                if not isinstance(record, dict):
                    raise ValueError(f"a {type(record).__name__} where a record should be")  # noqa: TRY004 - as parsers do
                found = {name: _text_of(record.get(name)) for name in fields}
            except ValueError as error:
                shown = f"{error}: {line[:60].decode(errors='replace')}"
                reader.findings.drop("no record on the line", 1, path, number, shown)
                continue
            met.update(name for name in fields if name in record)
            for name, value in found.items():
                columns[name].append(value)
            rows.append(number)
            if len(rows) == _RECORDS:
                yield chunk()
                reader.report(f"reading {path.name}", place(), path.stat().st_size)
        if number == 0:
            raise HarnessError(f"{path} is empty.", "Fetch the file again.")
        if rows:
            yield chunk()
    if met and fields[0] not in met:
        raise HarnessError(f"{path}: no record has the field {fields[0]!r}.", "Check which file it is.")


@contextmanager
def open_bytes(path: Path) -> Iterator[tuple[BinaryIO, Callable[[], int]]]:
    """The bytes of a file, gunzipped if it is gzip, and a function that tells how much of the file has been read.

    Raises:
        HarnessError: no such file, or a name that ends in .gz on what is not gzip.
    """
    try:
        raw = path.open("rb")
    except OSError as error:
        raise missing_file(path) from error
    with raw:
        magic = raw.read(2)
        raw.seek(0)
        if magic == _GZIP_MAGIC:
            with gzip.open(raw) as file:
                yield file, raw.tell  # type: ignore[misc]
        elif path.suffix == ".gz" and magic:
            raise HarnessError(f"{path} is not gzip.", "Fetch the file again, or name it for what it is.")
        else:
            yield raw, raw.tell


def missing_file(path: Path) -> HarnessError:
    """The error that a file of a data set is not there."""
    return HarnessError(
        f"No file {path}.",
        "Fetch it, or name its folder: --data-dir or CDSR_DATA for data sets, data_dir in the suite for other files.",
    )


@contextmanager
def _unreadable(path: Path) -> Iterator[None]:
    """Turns what libraries raise on a broken file into a line for people."""
    try:
        yield
    except EOFError as error:
        raise HarnessError(f"{path} is cut short: its gzip stream has no end.", "Fetch the file again.") from error
    except UnicodeDecodeError as error:
        raise HarnessError(f"{path}: byte {error.start} is not {error.encoding}.", "Name the encoding.") from error
    except (OSError, pa.ArrowException, gzip.zlib.error) as error:  # type: ignore[attr-defined]
        reason = "a row is longer than 32 MB" if "straddling" in str(error) else str(error).split("\n")[0][:200]
        raise HarnessError(f"{path} cannot be read: {reason}.", "Fetch the file again, or check its format.") from error


def _header(path: Path, form: TextFormat) -> tuple[str, ...]:
    with open_bytes(path) as (file, _), _unreadable(path):
        line = file.readline(_BLOCK)
    if not line.strip():
        raise HarnessError(f"{path} is empty: it has no header line.", "Fetch the file again, or name its columns.")
    text = line.decode("utf-8-sig" if form.encoding == "utf-8" else form.encoding, errors="replace").rstrip("\r\n")
    cells = text.split(form.delimiter)
    if form.quoted and len(form.delimiter) == 1:
        try:
            cells = next(csv.reader([text], delimiter=form.delimiter))
        except csv.Error as error:
            raise HarnessError(f"{path} row 1: the header line cannot be read: {error}.", "Mend the file.") from error
    if form.typed_header:
        cells = [cell.partition(":")[0] for cell in cells]
    return tuple(cells)


def _check_columns(path: Path, columns: Sequence[str], names: Sequence[str]) -> None:
    for column in columns:
        if column not in names:
            raise HarnessError.unknown(f"column (in {path})", column, {_printable(name) for name in names})
        if list(names).count(column) > 1:
            raise HarnessError(f"{path} row 1: two columns are named {column!r}.", "Rename one of them.")


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "�" for c in name[:40])


def _numbering(before: int, skipped: list[int], header: int) -> Callable[[int], int]:
    """From an index into a chunk to a place in the file, past the header and the rows that were skipped."""

    def place(index: int) -> int:
        row = before + index + 1 + header
        for number in skipped:  # rising
            if number > row:
                break
            row += 1
        return row

    return place


def _decoded(chunk: Chunk, reader: Reader) -> Chunk:
    """Drops the rows with bytes that are no UTF-8."""
    good: list[bool] | None = None
    for column in chunk.table.columns:
        raw = pa.chunked_array([part.view(pa.binary()) for part in column.chunks], pa.binary())
        try:
            raw.cast(pa.string())
        except pa.ArrowInvalid:
            valid = [_is_utf8(value) for value in raw.to_pylist()]
            good = valid if good is None else [a and b for a, b in zip(good, valid, strict=True)]
    if good is None:
        return chunk
    bad = [index for index, fine in enumerate(good) if not fine]
    reader.findings.drop("bytes that are not UTF-8", len(bad), chunk.path, chunk.row(bad[0]))
    return kept(chunk, pa.array(good))


def kept(chunk: Chunk, mask: pa.BooleanArray) -> Chunk:
    """The rows of a chunk where the mask holds, which keep their places."""
    indices = pc.indices_nonzero(mask).to_numpy()
    return Chunk(chunk.path, chunk.table.filter(mask), lambda index: chunk.row(int(indices[index])))


def _is_utf8(value: bytes | None) -> bool:
    try:
        return value is None or value.decode() is not None
    except UnicodeDecodeError:
        return False


def _as_text(column: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("s"), safe=False).cast(pa.int64())
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return pc.binary_join(column.cast(pa.list_(pa.string())), " ")
    return column.cast(pa.string())


def _text_of(value: Any) -> str | None:
    """A field as one line of text; None if it holds nothing.

    Raises:
        ValueError: text that cannot be written as UTF-8 (lone surrogates).
    """
    if isinstance(value, str):
        value.encode()
        return value
    if value is None or isinstance(value, dict):
        return None
    if isinstance(value, list | tuple):
        return " ".join(text for text in map(_text_of, value) if text)
    return str(value)


_SPACE = re.compile(r"\s+")


def one_line(text: str) -> str:
    """Text with every run of white space as one space."""
    return _SPACE.sub(" ", text).strip()


class _Replacing(io.RawIOBase):
    """A binary stream in which one byte string stands for another; a match may span two reads."""

    def __init__(self, source: BinaryIO, old: bytes, new: bytes) -> None:
        self._source, self._old, self._new = source, old, new
        self._carry, self._ready = b"", b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            read = self._source.read(2**20)
            data = self._carry + read
            if not data:
                return 0
            # The tail that may be the start of a match waits for what comes next.
            keep = len(self._old) - 1 if read else 0
            whole = data.split(self._old)
            tail = whole[-1]
            cut = len(tail) - min(keep, len(tail))
            self._carry, whole[-1] = tail[cut:], tail[:cut]
            self._ready = self._new.join(whole)
            if not read and not self._ready:
                return 0
        part, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)
