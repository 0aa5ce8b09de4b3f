"""Reading and writing the Parquet files beside results."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.errors import HarnessError

RESTORE = "Restore the file, or delete it and run the suite again."


def to_parquet(columns: dict[str, Any]) -> bytes:
    """A Parquet file with some columns, by name: arrays, lists or Arrow arrays of one length."""
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()


def read_parquet(path: Path, content: str, columns: list[str] | None = None) -> Any:
    """A Parquet file as a pyarrow.Table.

    Args:
        path: of the file.
        content: what it should hold, for the error message.
        columns: the columns to read; None for all.

    Raises:
        HarnessError: the file is missing, is not a Parquet file, or lacks a column.
    """
    if not path.is_file():
        raise HarnessError(f"No file of {content} {path}, which the results beside it need.", RESTORE)
    try:
        with pq.ParquetFile(path) as file:  # for one file much faster than read_table, which opens a data set
            table = file.read(columns=columns, use_threads=False)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise HarnessError(f"{path} is not a file of {content} ({type(error).__name__}).", RESTORE) from error
    if columns is not None and set(columns) - set(table.column_names):
        raise HarnessError(f"{path} is not a file of {content}: a column is missing.", RESTORE)
    return table
