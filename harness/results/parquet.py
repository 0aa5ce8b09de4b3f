"""Reading and writing the Parquet files beside results."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

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


def as_array(column: Any) -> NDArray[Any]:
    """A column of numbers or booleans without nulls, a pyarrow.Array or ChunkedArray, as a read-only array.

    Not by its own `to_numpy`, which imports pandas.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if not len(array):
        return np.empty(0, array.type.to_pandas_dtype())
    if pa.types.is_boolean(array.type):  # one bit each
        return np.from_dlpack(array.cast(pa.uint8())).view(np.bool_)
    return np.from_dlpack(array)
