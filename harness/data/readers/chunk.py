"""The unit in which files are read: some rows of string columns, with their row numbers in the file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from harness.data.records import Findings, ReadProgress, no_read_progress
from harness.errors import HarnessError


@dataclass(frozen=True)
class Chunk:
    """Some rows of a file.

    Attributes:
        path: the file.
        table: string columns with the requested names; null where a record lacks the field.
        row: maps an index into the table to the row number in the file.
    """

    path: Path
    table: pa.Table
    row: Callable[[int], int]


@dataclass(frozen=True)
class Reader:
    """What every reading function needs besides its file.

    Attributes:
        findings: where dropped rows are counted.
        report: called with the progress of reading, in bytes of the file.
    """

    findings: Findings
    report: ReadProgress = no_read_progress


def select_rows(chunk: Chunk, mask: pa.BooleanArray) -> Chunk:
    """The rows of a chunk where a mask holds; they keep their row numbers."""
    indices = pc.indices_nonzero(mask).to_numpy()
    return Chunk(chunk.path, chunk.table.filter(mask), lambda index: chunk.row(int(indices[index])))


def drop_undecodable(chunk: Chunk, decodable: NDArray[np.bool_], findings: Findings) -> Chunk:
    """Drop and count the rows that are not decodable (bool [n])."""
    if decodable.all():
        return chunk
    first = chunk.row(int(decodable.argmin()))
    findings.drop("bytes that are not text in the file's encoding", int((~decodable).sum()), chunk.path, first)
    return select_rows(chunk, pa.array(decodable))


def row_lookup(rows: NDArray[np.int64]) -> Callable[[int], int]:
    """The `row` function of a chunk, from its row numbers (int64 [n])."""
    return lambda index: int(rows[index])


def check_columns(path: Path, columns: Sequence[str], names: Sequence[str]) -> None:
    """Check that a file has each requested column exactly once.

    Raises:
        HarnessError: a column is missing, or two columns have its name.
    """
    for column in columns:
        if column not in names:
            raise HarnessError.unknown(f"column (in {path})", column, {_printable(name) for name in names})
        if list(names).count(column) > 1:
            raise HarnessError(f"{path} row 1: two columns are named {column!r}.", "Rename one of them.")


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "�" for c in name[:40])
