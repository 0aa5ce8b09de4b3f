"""Tables of the user's own: CSV, TSV or Parquet, compressed or not, with the names of their columns."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from harness.data import cleaning
from harness.data.readers import Chunk, Reader, TextFormat, is_parquet, kept, numbers_of, read_parquet, read_text
from harness.data.records import Findings, RawDomain, ReadProgress, no_read_progress
from harness.data.sources.source import Source, added
from harness.data.streams import check_encoding
from harness.data.times import TimeUnit


class Columns(BaseModel):
    """The columns that are read, by the names the files give them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: str = "user_id"
    item: str = "item_id"
    timestamp: str = "timestamp"
    rating: str = added("rating")


class ItemColumns(BaseModel):
    """The columns of the items file: the id, and those whose joined values are an item's text; none if it has none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    item: str = "item_id"
    text: tuple[str, ...] = ("title",)


class Layout(BaseModel):
    """How a delimited file is written; by default by its name: .csv with commas, .tsv and others with tabs.

    Fields may be quoted unless it says that they are not: the file's own quotes tell whether they are.
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
            raise ValueError("a quote, a line end or NUL cannot stand between fields")
        return delimiter

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding: str) -> str:
        check_encoding(encoding)
        return encoding

    def form(self, path: Path, typed_header: bool = False) -> TextFormat:
        """The layout of one file."""
        by_name = "," if ".csv" in path.suffixes else "\t"
        return TextFormat(self.delimiter or by_name, self.quoted, self.encoding, self.names, typed_header)


#: One file, or several that are read as one.
Files = Path | tuple[Path, ...]


class Table(Source):
    """Files of interactions and of items; without items, nothing has a text.

    Events are in the order of their times; where there is no time column, `order: row` says that the rows are.
    """

    source: Literal["table"] = "table"
    interactions: Files
    items: Files | None = None
    columns: Columns = Columns()
    item_columns: ItemColumns = ItemColumns()
    time_unit: TimeUnit = "s"
    layout: Layout = Layout()
    items_layout: Layout | None = None
    time_format: str = added("")
    order: Literal["time", "row"] = added("time")
    least_rating: float | None = added(None)
    clean_html: bool = added(False)

    @model_validator(mode="after")
    def _times_are_told_once(self) -> Self:
        if self.order == "row":
            told = self.model_fields_set & {"time_unit", "time_format"}
            told |= {f"columns.{name}" for name in self.columns.model_fields_set & {"timestamp"}}
            if told:
                raise ValueError(f"order: row reads no times, but {min(told)} is given")
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
        """Whether the order is that of times."""
        return self.order == "time"

    @field_validator("interactions", "items")
    @classmethod
    def _each_once(cls, files: Files | None) -> Files | None:
        if isinstance(files, tuple) and not 0 < len(set(files)) == len(files):
            raise ValueError("name at least one file, and none twice")
        return files

    def files(self, folder: Path) -> Sequence[Path]:
        """The files."""
        return tuple(folder / path for path in (*_each(self.interactions), *_each(self.items)))

    def open(self, name: str, folder: Path, report: ReadProgress = no_read_progress) -> RawDomain:
        """See `Source.open`."""
        events = [folder / path for path in _each(self.interactions)]
        catalogue = [folder / path for path in _each(self.items)]
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


def _each(files: Files | None) -> tuple[Path, ...]:
    return files if isinstance(files, tuple) else () if files is None else (files,)


#: Files, each with the way it is written.
Written = Sequence[tuple[Path, TextFormat]]


def from_tables(
    name: str,
    events: Written,
    columns: Columns,
    catalogue: Written,
    item_columns: ItemColumns,
    unit: TimeUnit,
    report: ReadProgress,
    time_format: str = "",
    order: Literal["time", "row"] = "time",
    least_rating: float | None = None,
    clean_html: bool = False,
) -> RawDomain:
    """A domain from tables of interactions and tables of items; of no tables of items, no item has a text."""
    findings = Findings()
    reader = Reader(findings, report)
    ids = (columns.user, columns.item)
    names = (*ids, columns.timestamp)
    read = names if order == "time" else ids
    if least_rating is None:
        chunks = _read(events, read, reader)
    else:
        chunks = _rated(_read(events, (*read, columns.rating), reader), columns.rating, least_rating, findings)
    return RawDomain(
        name,
        cleaning.interactions(chunks, names, unit, findings, time_format)
        if order == "time"
        else cleaning.rows_in_order(chunks, ids, findings),
        lambda wanted: cleaning.items(
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


def _read(files: Written, columns: Sequence[str], reader: Reader) -> Iterable[Chunk]:
    return chain.from_iterable(
        read_parquet(path, columns, reader) if is_parquet(path) else read_text(path, columns, form, reader)
        for path, form in files
    )


def _rated(chunks: Iterable[Chunk], column: str, least: float, findings: Findings) -> Iterator[Chunk]:
    """The rows with at least that rating."""
    for chunk in chunks:
        ratings = numbers_of(chunk.table[column])
        for bad, reason, wished in (
            (np.isnan(ratings), "a rating that is none", False),
            (ratings < least, f"a rating below {least:g}", True),
        ):
            if bad.any():
                findings.drop(reason, int(bad.sum()), chunk.path, chunk.row(int(bad.argmax())), wished=wished)
        yield kept(chunk, pa.array(ratings >= least))
