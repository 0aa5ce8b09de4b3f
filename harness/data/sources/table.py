"""Tables of users' own data: CSV, TSV or Parquet, compressed or not."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from harness.data import parse_columns
from harness.data.readers import Chunk, Reader, TextFormat, is_parquet, read_parquet, read_text, select_rows
from harness.data.records import Findings, RawDomain, ReadProgress, no_read_progress
from harness.data.sources.source import Source, omitted_if
from harness.data.streams import check_encoding
from harness.data.times import TimeUnit


class Columns(BaseModel):
    """Names of the columns of interactions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: str = "user_id"
    item: str = "item_id"
    timestamp: str = "timestamp"
    rating: str = omitted_if("rating")


class ItemColumns(BaseModel):
    """Names of the columns of items: the id, and those whose joined values are an item's text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    item: str = "item_id"
    text: tuple[str, ...] = ("title",)


class Layout(BaseModel):
    """The format of a delimited file. The default delimiter is a comma for .csv and a tab for other names.

    Unless `quoted` is false, the file's own double quotes decide whether fields are quoted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    delimiter: str | None = Field(default=None, min_length=1)
    quoted: bool = True
    encoding: str = "utf-8"
    names: tuple[str, ...] | None = None

    @field_validator("delimiter")
    @classmethod
    def _no_line_end(cls, delimiter: str | None) -> str | None:
        if delimiter is not None and set(delimiter) & set('"\r\n\0'):
            raise ValueError("a double quote, a line end or NUL cannot separate fields")
        return delimiter

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding: str) -> str:
        check_encoding(encoding)
        return encoding

    def form(self, path: Path, typed_header: bool = False) -> TextFormat:
        """The format of one file."""
        by_name = "," if ".csv" in path.suffixes else "\t"
        return TextFormat(self.delimiter or by_name, self.quoted, self.encoding, self.names, typed_header)


#: One file, or several that are concatenated.
Files = Path | tuple[Path, ...]


class Table(Source):
    """Files of interactions and of items; without items files, items have no texts.

    Events are sorted by time. Without a time column, `order: row` keeps the order of the rows.
    """

    source: Literal["table"] = "table"
    interactions: Files
    items: Files | None = None
    columns: Columns = Columns()
    item_columns: ItemColumns = ItemColumns()
    time_unit: TimeUnit = "s"
    layout: Layout = Layout()
    items_layout: Layout | None = None
    time_format: str = omitted_if("")
    order: Literal["time", "row"] = omitted_if("time")
    least_rating: float | None = omitted_if(None)
    clean_html: bool = omitted_if(False)

    @model_validator(mode="after")
    def _check_time_options(self) -> Self:
        if self.order == "row":
            time_options = self.model_fields_set & {"time_unit", "time_format"}
            time_options |= {f"columns.{name}" for name in self.columns.model_fields_set & {"timestamp"}}
            if time_options:
                raise ValueError(f"order: row reads no times, but {min(time_options)} is given")
        if self.time_format:
            if "time_unit" in self.model_fields_set and self.time_unit != "date":
                raise ValueError(
                    f"time_format: {self.time_format} and time_unit: {self.time_unit} contradict each other"
                )
            try:
                pd.to_datetime(["1"], format=self.time_format, errors="coerce")
            except ValueError as error:
                raise ValueError(f"time_format: {error}") from error
        return self

    @property
    def timed(self) -> bool:
        """Whether events are sorted by time."""
        return self.order == "time"

    @field_validator("interactions", "items")
    @classmethod
    def _check_files(cls, files: Files | None) -> Files | None:
        if isinstance(files, tuple) and not 0 < len(set(files)) == len(files):
            raise ValueError("name at least one file, and none twice")
        return files

    def files(self, folder: Path) -> Sequence[Path]:
        """The files of interactions and of items."""
        return tuple(folder / path for path in (*_as_tuple(self.interactions), *_as_tuple(self.items)))

    def open(self, name: str, folder: Path, report: ReadProgress = no_read_progress) -> RawDomain:
        """See `Source.open`."""
        events = [folder / path for path in _as_tuple(self.interactions)]
        catalogue = [folder / path for path in _as_tuple(self.items)]
        items_layout = self.items_layout or self.layout
        return from_tables(
            name,
            [(path, self.layout.form(path)) for path in events],
            self.columns,
            [(path, items_layout.form(path)) for path in catalogue],
            self.item_columns,
            self.time_unit,
            report,
            time_format=self.time_format,
            order=self.order,
            least_rating=self.least_rating,
            clean_html=self.clean_html,
        )


def _as_tuple(files: Files | None) -> tuple[Path, ...]:
    return files if isinstance(files, tuple) else () if files is None else (files,)


#: Files with their formats.
FormattedFiles = Sequence[tuple[Path, TextFormat]]


def from_tables(
    name: str,
    events: FormattedFiles,
    columns: Columns,
    catalogue: FormattedFiles,
    item_columns: ItemColumns,
    unit: TimeUnit,
    report: ReadProgress,
    time_format: str = "",
    order: Literal["time", "row"] = "time",
    least_rating: float | None = None,
    clean_html: bool = False,
) -> RawDomain:
    """A domain from files of interactions and files of items; without items files, items have no texts.

    Args:
        name: the domain's name.
        events: files of interactions.
        columns: their columns.
        catalogue: files of items.
        item_columns: their columns.
        unit: of times that are numbers.
        report: called with the progress of reading.
        time_format: of times, as in `datetime.strptime`; empty for numbers and ISO 8601.
        order: `time`, or `row` for files without times whose rows are in order.
        least_rating: rows with a lower rating are dropped.
        clean_html: whether to remove HTML from texts.
    """
    findings = Findings()
    reader = Reader(findings, report)
    ids = (columns.user, columns.item)
    names = (*ids, columns.timestamp)
    needed = names if order == "time" else ids
    if least_rating is None:
        chunks = _read(events, needed, reader)
    else:
        chunks = _drop_low_ratings(
            _read(events, (*needed, columns.rating), reader), columns.rating, least_rating, findings
        )
    return RawDomain(
        name,
        parse_columns.interactions(chunks, names, unit, findings, time_format)
        if order == "time"
        else parse_columns.rows_in_order(chunks, ids, findings),
        lambda item_ids: parse_columns.items(
            _read(catalogue, (item_columns.item, *item_columns.text), reader),
            item_columns.item,
            item_columns.text,
            findings,
            clean_html,
        ),
        findings,
        timed=order == "time",
        has_text=bool(catalogue and item_columns.text),
    )


def _read(files: FormattedFiles, columns: Sequence[str], reader: Reader) -> Iterable[Chunk]:
    return chain.from_iterable(
        read_parquet(path, columns, reader) if is_parquet(path) else read_text(path, columns, form, reader)
        for path, form in files
    )


def _drop_low_ratings(chunks: Iterable[Chunk], column: str, least: float, findings: Findings) -> Iterator[Chunk]:
    """The rows with at least a given rating; others are dropped and counted."""
    for chunk in chunks:
        ratings = _numbers(chunk.table[column])
        for bad, reason, intended in (
            (np.isnan(ratings), "not a rating", False),
            (ratings < least, f"a rating below {least:g}", True),
        ):
            if bad.any():
                row = chunk.row(int(bad.argmax()))
                findings.drop(reason, int(bad.sum()), chunk.path, row, intended=intended)
        yield select_rows(chunk, pa.array(ratings >= least))


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Texts as float64 [n], NaN for those that are not numbers."""
    try:
        return np.asarray(column.cast(pa.float64()))
    except pa.ArrowInvalid:  # pandas' parser is no alternative: it crashes on exponents with many digits
        return np.array([_number(text) for text in column.to_pylist()], dtype=np.float64)


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
