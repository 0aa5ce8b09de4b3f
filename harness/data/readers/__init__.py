"""Read raw files chunk by chunk: delimited text, Parquet, lines of JSON or of Python literals.

Every row ends up in a chunk or in the findings, with its row number. Rows count from 1 with the header line, so that a
row's number is its line number unless quoted fields span lines.
"""

from harness.data.readers.chunk import Chunk, Reader, select_rows
from harness.data.readers.delimited import TextFormat, read_text
from harness.data.readers.json_lines import LineParser, parse_json, parse_literal, read_records
from harness.data.readers.parquet import is_parquet, read_parquet

__all__ = [
    "Chunk",
    "LineParser",
    "Reader",
    "TextFormat",
    "is_parquet",
    "parse_json",
    "parse_literal",
    "read_parquet",
    "read_records",
    "read_text",
    "select_rows",
]
