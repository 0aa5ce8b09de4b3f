"""Read files with one record a line: JSON objects or Python literals."""

import ast
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from harness.data.readers.chunk import Chunk, Reader
from harness.data.streams import text_blocks
from harness.data.text import text_of
from harness.errors import HarnessError

#: Records a chunk.
_CHUNK_SIZE = 100_000

#: Parses the bytes of a line; raises ValueError if they are malformed.
LineParser = Callable[[bytes], Any]


def parse_json(line: bytes) -> Any:
    """Parse a JSON value.

    Raises:
        ValueError: the line is not JSON.
    """
    return orjson.loads(line)


def parse_literal(line: bytes) -> Any:
    """Parse a Python literal, as in Amazon's 2014 meta files, without evaluating it.

    Raises:
        ValueError: the line is not a literal, or nested too deeply.
    """
    try:
        return ast.literal_eval(line.decode())
    except (SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"not a Python literal: {type(error).__name__}") from error


def read_records(
    path: Path,
    fields: Sequence[str],
    parse: LineParser,
    reader: Reader,
    prefilter: Callable[[bytes], bool] | None = None,
) -> Iterator[Chunk]:
    """Read some fields of a file with one record a line, compressed or not, as strings; lists are joined by spaces.

    Args:
        path: the file.
        fields: keys of the records; at least one record must have the first.
        parse: parses a line's bytes to a dict.
        reader: where lines without a record are counted.
        prefilter: a quick test of a line's bytes; lines for which it is false are skipped unparsed.

    Raises:
        HarnessError: the file is missing, broken or empty, a line is over 32 MB, or no record has the first field.
    """
    columns: dict[str, list[str | None]] = {name: [] for name in fields}
    rows: list[int] = []
    fields_seen: set[str] = set()
    number = 0

    def take_chunk() -> Chunk:
        table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
        chunk = Chunk(path, table, tuple(rows).__getitem__)
        for values in columns.values():
            values.clear()
        rows.clear()
        return chunk

    for block, position in text_blocks(path):
        for line in block.splitlines():
            number += 1
            if not line.strip() or (prefilter is not None and not prefilter(line)):
                continue
            try:
                record = parse(line)
                if not isinstance(record, dict):
                    raise ValueError(f"a {type(record).__name__} instead of a record")  # noqa: TRY004 - as parsers do
                texts = {name: text_of(record.get(name)) for name in fields}
            except ValueError as error:
                detail = f"{error}: {line[:60].decode(errors='replace')}"
                reader.findings.drop("no record on the line", 1, path, number, detail)
                continue
            fields_seen.update(name for name in fields if name in record)
            for name, value in texts.items():
                columns[name].append(value)
            rows.append(number)
            if len(rows) == _CHUNK_SIZE:
                yield take_chunk()
        reader.report(f"reading {path.name}", position, path.stat().st_size)
    if number == 0:
        raise HarnessError(f"{path} is empty.", "Fetch the file again.")
    if rows:
        yield take_chunk()
    if fields_seen and fields[0] not in fields_seen:
        raise HarnessError(f"{path}: no record has the field {fields[0]!r}.", "Check which file it is.")
