"""Reads files of scores or ranked lists that code outside the harness wrote: CSV, TSV, Parquet, JSON lines, TREC runs.

Each fault is an error that names the file and the row. Rows count from 1, the header included; for Parquet, from the
first row of data.
"""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from harness.data.domain import Ints
from harness.data.streams import read_errors, text_blocks
from harness.errors import HarnessError
from harness.protocol.metrics import Floats

#: Formats by the suffix of a file's name, without the suffix of a compression.
SUFFIXES: Mapping[str, str] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".run": "trec",
    ".trec": "trec",
}
FORMATS = ("csv", "tsv", "parquet", "jsonl", "trec")

_COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst", ".zip")
_NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[iI][nN][fF]([iI][nN][iI][tT][yY])?|[nN][aA][nN])$"
_WHOLE = r"^\d{1,9}$"
#: Fields of a line of a TREC run: query, Q0, document, rank, score, tag.
_TREC_FIELDS = 6
#: Whole numbers from here on are not all exact as float64.
_EXACT = 2**53


@dataclass(frozen=True)
class Labels:
    """A column of ids.

    Attributes:
        codes: int64 [n_rows], index into `names`.
        names: the distinct ids.
    """

    codes: Ints
    names: tuple[str, ...]

    def __getitem__(self, row: int) -> str:
        """The id of a row."""
        return self.names[int(self.codes[row])]

    def index(self, known: Mapping[str, int]) -> Ints:
        """A number for each row by its id: int64 [n_rows], -1 for an unknown id."""
        return np.array([known.get(name, -1) for name in self.names], dtype=np.int64)[self.codes]


@dataclass(frozen=True)
class ScoreRows:
    """The rows of a file of scores or lists.

    Attributes:
        path: of the file.
        users: user ids.
        items: item ids, or titles.
        scores: float64 [n_rows], higher is better; minus the rank where the file holds ranks or lists. -inf: not
            recommended.
        rows: int64 [n_rows], where each stands in the file.
        ranked: whether the file holds ranks or lists, which have no ties.
        titled: whether `items` are titles.
    """

    path: Path
    users: Labels
    items: Labels
    scores: Floats
    rows: Ints
    ranked: bool
    titled: bool = False

    def error(self, row: int, what: str, hint: str) -> HarnessError:
        """An error about a row, by its index here."""
        return row_error(self.path, int(self.rows[row]), what, hint)


def row_error(path: Path, row: int, what: str, hint: str) -> HarnessError:
    """An error about a row of a file."""
    return HarnessError(f"{path}, row {row:,}: {what}", hint)


def read_scores(path: Path, form: str) -> ScoreRows:
    """Read a file of scores or lists.

    Args:
        path: of the file; text may be compressed.
        form: one of `FORMATS`.

    Raises:
        HarnessError: the file is empty or malformed; the message names the row.
    """
    if form not in FORMATS:
        raise HarnessError.unknown("format", form, FORMATS)
    if form == "trec":
        rows = _read_lines(path, _trec_line, ranked=False)
    elif form == "jsonl":
        rows = _read_lists(path)
    else:
        rows = _read_table(
            path, _parquet(path) if form == "parquet" else _delimited(path, "," if form == "csv" else "\t")
        )
    if not len(rows.rows):
        raise HarnessError(f"{path} has no rows.", "Write a row for each user and item.")
    return rows


def format_of(path: Path) -> str:
    """The format of a file by its suffix.

    Raises:
        HarnessError: the suffix is none of a format.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in _COMPRESSIONS]
    form = SUFFIXES.get(suffixes[-1]) if suffixes else None
    if form is None:
        raise HarnessError(
            f"{path}: the suffix does not say which format it is.", f"Add --format, one of {', '.join(FORMATS)}."
        )
    return form


#: A part of a table, with where its rows stand in the file (int64 [n_rows]).
_Part = tuple[pa.Table, Ints]


def _delimited(path: Path, delimiter: str) -> Iterator[_Part]:
    """The rows of a CSV or TSV file as strings; its first line names the columns."""
    header: list[str] = []
    row = 1
    for block, _ in text_blocks(path):
        _check_utf8(path, block, row)
        if not header:
            line, _, block = block.partition(b"\n")
            header = next(csv.reader([line.decode()], delimiter=delimiter), [])
            _check_columns(path, header)
            row = 2
        if block:
            yield _parse(path, block, header, delimiter, row)
            row += block.count(b"\n")
    if not header:
        raise HarnessError(f"{path} is empty.", "Write a row for each user and item.")


def _check_utf8(path: Path, block: bytes, row: int) -> None:
    try:
        block.decode()
    except UnicodeDecodeError as error:
        bad = row + block.count(b"\n", 0, error.start)
        raise row_error(path, bad, "not UTF-8.", "Write the file as UTF-8.") from error


def _parse(path: Path, block: bytes, header: Sequence[str], delimiter: str, row: int) -> _Part:
    """Parse lines, the first of which is at a row. Empty lines are left out."""
    skipped: list[int] = []
    wrong: list[Any] = []

    def on_wrong_row(malformed: Any) -> str:
        skipped.append(malformed.number - 1)
        if malformed.text.strip():
            wrong.append(malformed)
        return "skip"

    table = pyarrow.csv.read_csv(
        pa.py_buffer(block),
        # Malformed rows are numbered only without threads.
        read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=header),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=delimiter, ignore_empty_lines=False, invalid_row_handler=on_wrong_row
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False
        ),
    )
    if wrong:
        first = wrong[0]
        raise row_error(
            path,
            row + first.number - 1,
            f"{first.actual_columns} fields instead of {first.expected_columns}.",
            "Write one user and item a line, as the header says.",
        )
    return table, np.delete(np.arange(row, row + len(table) + len(skipped)), skipped)


def _parquet(path: Path) -> Iterator[_Part]:
    """The rows of a Parquet file; ids as strings."""
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"PAR1":
        raise HarnessError(f"{path} is not a Parquet file.", "Check the format.")
    with read_errors(path):
        table = pq.read_table(path)
    _check_columns(path, table.column_names)
    columns: dict[str, Any] = {}
    for name in ("user_id", "item_id"):
        column = table[name]
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
            raise HarnessError(f"{path}: {name} is of type {kind}.", "Write ids as text or whole numbers.")
        columns[name] = column.cast(kind).cast(pa.string())
    value = "score" if "score" in table.column_names else "rank"
    kind = table[value].type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise HarnessError(f"{path}: {value} is of type {kind}.", "Write numbers.")
    columns[value] = table[value]
    rows = np.arange(1, len(table) + 1)
    for name, column in columns.items():
        if column.null_count:
            missing = int(np.flatnonzero(np.asarray(column.is_null()))[0])
            raise row_error(path, int(rows[missing]), f"no {name}.", "Fill it in, or leave the row out.")
    yield pa.table(columns), rows


def _check_columns(path: Path, names: Sequence[str]) -> None:
    """Check the header: `user_id`, `item_id`, and `score` or `rank`, each once."""
    for name in ("user_id", "item_id", "score", "rank"):
        if list(names).count(name) > 1:
            raise row_error(path, 1, f"the column {name} is there twice.", "Leave one out.")
    missing = [name for name in ("user_id", "item_id") if name not in names]
    if not missing and not {"score", "rank"} & set(names):
        missing = ["score or rank"]
    if missing:
        found = ", ".join(names)[:80] or "nothing"
        raise row_error(
            path, 1, f"no column {missing[0]}; found {found}.", "Name the columns user_id, item_id, and score or rank."
        )


def _read_table(path: Path, parts: Iterator[_Part]) -> ScoreRows:
    read = list(parts)
    if not read:
        raise HarnessError(f"{path} has no rows.", "Write a row for each user and item.")
    table, numbers = pa.concat_tables(part for part, _ in read), np.concatenate([rows for _, rows in read])
    # As evaluation tools do, the score decides where a file has both.
    ranked = "score" not in table.column_names
    values = _numbers(path, table["rank" if ranked else "score"], numbers, ranked)
    users, items = (_labels(table[name]) for name in ("user_id", "item_id"))
    return _checked(ScoreRows(path, users, items, -values if ranked else values, numbers, ranked))


def _labels(column: Any) -> Labels:
    encoded = column.dictionary_encode().unify_dictionaries().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = (
            pa.concat_arrays(encoded.chunks) if encoded.num_chunks else pa.array([], pa.string()).dictionary_encode()
        )
    return Labels(np.asarray(encoded.indices, dtype=np.int64), tuple(encoded.dictionary.to_pylist()))


def _numbers(path: Path, column: Any, rows: Ints, ranked: bool) -> Floats:
    """Scores or ranks of a column of text or numbers: float64 [n_rows]."""
    name = "rank" if ranked else "score"
    hint = "Write ranks as whole numbers from 1." if ranked else "Write a number."
    if pa.types.is_string(column.type):
        good = np.asarray(pc.match_substring_regex(column, _WHOLE if ranked else _NUMBER))
        if not good.all():
            bad = int(np.flatnonzero(~good)[0])
            raise row_error(path, int(rows[bad]), f"{name} {column[bad].as_py()[:40]!r} is not a number.", hint)
        # Arrow reads no plus sign.
        column = pc.replace_substring_regex(column, r"^\+", "")
    elif pa.types.is_integer(column.type):
        large = np.abs(np.asarray(column).astype(np.float64)) >= _EXACT
        if large.any():
            bad = int(np.flatnonzero(large)[0])
            raise row_error(
                path,
                int(rows[bad]),
                f"{name} {column[bad]} is not below 2^53, and would be rounded.",
                "Write scores as float64.",
            )
    values = np.asarray(column.cast(pa.float64()), dtype=np.float64)
    if ranked and (values != np.floor(values)).any():
        bad = int(np.flatnonzero(values != np.floor(values))[0])
        raise row_error(path, int(rows[bad]), f"rank {values[bad]:g} is not a whole number.", hint)
    return values


def _trec_line(path: Path, row: int, line: str) -> Iterator[tuple[str, str, float]]:
    fields = line.split()
    if len(fields) != _TREC_FIELDS:
        raise row_error(
            path, row, f"{len(fields)} fields instead of {_TREC_FIELDS}.", "Write: user Q0 item rank score tag."
        )
    user, _, item, _, score, _ = fields
    if not pc.match_substring_regex(pa.array([score]), _NUMBER)[0].as_py():
        raise row_error(path, row, f"score {score[:40]!r} is not a number.", "Write a number.")
    yield user, item, float(score)


_LIST = 'Write {"user_id": ..., "items": [...]} or {"user_id": ..., "titles": [...]}.'


def _read_lists(path: Path) -> ScoreRows:
    """JSON lines: a user and a list of item ids or titles, the best first."""
    key: list[str] = []

    def line_of(path: Path, row: int, line: str) -> Iterator[tuple[str, str, float]]:
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise row_error(path, row, "not JSON.", _LIST) from error
        if not isinstance(record, dict) or not _is_id(record.get("user_id")):
            raise row_error(path, row, "no user_id that is text or a whole number.", _LIST)
        names = [name for name in ("items", "titles") if name in record]
        if len(names) != 1 or not isinstance(record[names[0]], list):
            raise row_error(path, row, "not one list of items or titles.", _LIST)
        key[:] = key or names
        if key != names:
            raise row_error(path, row, f"{names[0]}, but {key[0]} before.", "Write one or the other in all lines.")
        for position, item in enumerate(record[names[0]], 1):
            if not _is_id(item):
                raise row_error(path, row, f"{str(item)[:40]} in the list is no text or whole number.", _LIST)
            yield str(record["user_id"]), str(item), -float(position)

    return _read_lines(path, line_of, ranked=True, titled=lambda: key == ["titles"])


def _is_id(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))


def _read_lines(
    path: Path,
    read: Callable[[Path, int, str], Iterator[tuple[str, str, float]]],
    ranked: bool,
    titled: Callable[[], bool] = lambda: False,
) -> ScoreRows:
    """Rows of a file whose lines a function reads; empty lines are left out."""
    users: list[str] = []
    items: list[str] = []
    scores: list[float] = []
    rows: list[int] = []
    row = 1
    for block, _ in text_blocks(path):
        _check_utf8(path, block, row)
        for line in block.decode().split("\n")[:-1]:
            for user, item, score in read(path, row, line) if line.strip() else ():
                users.append(user)
                items.append(item)
                scores.append(score)
                rows.append(row)
            row += 1
    columns = [_labels(pa.chunked_array([pa.array(values, pa.string())])) for values in (users, items)]
    numbers, values = np.array(rows, dtype=np.int64), np.array(scores, dtype=np.float64)
    return _checked(ScoreRows(path, columns[0], columns[1], values, numbers, ranked, titled()))


def _checked(rows: ScoreRows) -> ScoreRows:
    """The rows, if no id is empty and no score is NaN or +inf.

    Raises:
        HarnessError: the first row with such a fault.
    """
    for name, labels in (("user_id", rows.users), ("item_id", rows.items)):
        empty = [code for code, text in enumerate(labels.names) if not text.strip()]
        if empty:
            raise rows.error(int(np.isin(labels.codes, empty).argmax()), f"no {name}.", "Fill it in.")
    nan, infinite = np.isnan(rows.scores), rows.scores == np.inf
    if nan.any():
        raise rows.error(int(nan.argmax()), "the score is NaN, which has no rank.", "Leave such items out.")
    if infinite.any():
        raise rows.error(int(infinite.argmax()), "the score is infinite.", "Write a finite score.")
    if rows.ranked and (rows.scores > -1).any():
        row = int((rows.scores > -1).argmax())
        raise rows.error(row, f"rank {-rows.scores[row]:.0f} is below 1.", "Write ranks as whole numbers from 1.")
    return rows
