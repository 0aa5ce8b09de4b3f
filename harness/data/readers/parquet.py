"""Read Parquet files as string columns."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness.data.readers.chunk import Chunk, Reader, check_columns, drop_undecodable, row_lookup
from harness.data.records import Findings
from harness.data.streams import missing_file, read_errors
from harness.data.text import text_of


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, by its name or its first bytes."""
    try:
        with path.open("rb") as file:
            return path.suffix == ".parquet" or file.read(4) == b"PAR1"
    except OSError as error:
        raise missing_file(path) from error


def read_parquet(path: Path, columns: Sequence[str], reader: Reader) -> Iterator[Chunk]:
    """Read some columns of a Parquet file as strings.

    A whole number has the same text whatever its type: 12 and not 12.0. Rows with bytes that are not UTF-8 are dropped
    and counted.

    Raises:
        HarnessError: the file is missing or not Parquet, or lacks a column.
    """
    if not path.is_file():
        raise missing_file(path)
    with read_errors(path):
        file = pq.ParquetFile(path)
        check_columns(path, columns, file.schema_arrow.names)
        before, total = 0, file.metadata.num_rows
        for batch in file.iter_batches(batch_size=2**18, columns=list(dict.fromkeys(columns))):
            table = pa.table({name: _as_text(batch.column(name)) for name in batch.schema.names})
            rows = np.arange(before + 1, before + len(table) + 1)
            yield _decoded(Chunk(path, table, row_lookup(rows)), reader.findings)
            before += len(table)
            reader.report(f"reading {path.name}", before, total)


def _decoded(chunk: Chunk, findings: Findings) -> Chunk:
    """Cast binary columns to strings; drop rows with bytes that are not UTF-8."""
    decodable = np.ones(len(chunk.table), dtype=bool)
    for column in chunk.table.columns:
        binary = column.cast(pa.binary())
        try:
            binary.cast(pa.string())
        except pa.ArrowInvalid:
            decodable &= [_is_utf8(value) for value in binary.to_pylist()]
    chunk = drop_undecodable(chunk, decodable, findings)
    strings = pa.schema([(name, pa.string()) for name in chunk.table.column_names])
    return Chunk(chunk.path, chunk.table.cast(strings), chunk.row)


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
        # ISO 8601 is read as such whatever the time unit of the source. Times without a zone are UTC.
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
        return b"\xff"  # not UTF-8, so that the row is dropped
    return None if text is None else text.encode()


def _number_texts(numbers: pa.Array) -> pa.Array:
    """Numbers as text, whole ones without a point: ids that are floats in one file are integers in another."""
    values = np.nan_to_num(numbers.fill_null(0).to_numpy(zero_copy_only=False), nan=0.5, posinf=0.5, neginf=0.5)
    whole = (values == np.floor(values)) & (np.abs(values) < 2**63)
    integers = pa.array(np.where(whole, values, 0).astype(np.int64)).cast(pa.string())
    texts = pc.if_else(pa.array(whole), integers, numbers.cast(pa.string()))
    return pc.if_else(numbers.is_valid(), texts, pa.scalar(None, pa.string()))
