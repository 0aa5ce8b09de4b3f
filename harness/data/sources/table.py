"""Tables of the user's own: CSV, TSV or Parquet, plain or gzipped, with the names of their columns."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Self

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.data import cleaning
from harness.data.raw import Findings, RawDomain, Report, silent
from harness.data.reading import Chunk, Reader, TextFormat, read_parquet, read_text
from harness.data.sources.source import Source, added
from harness.data.times import TimeUnit


class Columns(BaseModel):
    """The columns that are read, by the names the files give them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: str = "user_id"
    item: str = "item_id"
    timestamp: str = "timestamp"


class ItemColumns(BaseModel):
    """The columns of the items file: the id, and those whose joined values are an item's text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    item: str = "item_id"
    text: tuple[str, ...] = Field(default=("title",), min_length=1)


class Layout(BaseModel):
    """How a delimited file is written; by default by its name: .csv with commas, .tsv and others with tabs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    delimiter: str | None = Field(default=None, min_length=1)
    quoted: bool = True
    encoding: str = "utf-8"
    names: tuple[str, ...] | None = None

    def form(self, path: Path, typed_header: bool = False) -> TextFormat:
        """The layout of one file."""
        by_name = "," if ".csv" in path.suffixes else "\t"
        return TextFormat(self.delimiter or by_name, self.quoted, self.encoding, self.names, typed_header)


class Table(Source):
    """One file of interactions and one of items.

    Events are in the order of their times; where there is no time column, `order: row` says that the rows are.
    """

    source: Literal["table"] = "table"
    interactions: Path
    items: Path
    columns: Columns = Columns()
    item_columns: ItemColumns = ItemColumns()
    time_unit: TimeUnit = "s"
    layout: Layout = Layout()
    items_layout: Layout | None = None
    time_format: str = added("")
    order: Literal["time", "row"] = added("time")

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

    def files(self, folder: Path) -> Sequence[Path]:
        """The two files."""
        return (folder / self.interactions, folder / self.items)

    def open(self, name: str, folder: Path, report: Report = silent) -> RawDomain:
        """See `Source.open`."""
        events, catalogue = self.files(folder)
        items_form = (self.items_layout or self.layout).form(catalogue)
        return from_tables(
            name, events, self.layout.form(events), self.columns, catalogue, items_form, self.item_columns,
            self.time_unit, report, self.time_format, self.order,
        )  # fmt: skip


def from_tables(
    name: str,
    events: Path,
    events_form: TextFormat,
    columns: Columns,
    catalogue: Path,
    items_form: TextFormat,
    item_columns: ItemColumns,
    unit: TimeUnit,
    report: Report,
    time_format: str = "",
    order: Literal["time", "row"] = "time",
) -> RawDomain:
    """A domain from a table of interactions and a table of items."""
    findings = Findings()
    reader = Reader(findings, report)
    ids, names = (columns.user, columns.item), (columns.user, columns.item, columns.timestamp)
    return RawDomain(
        name,
        cleaning.interactions(_read(events, names, events_form, reader), names, unit, findings, time_format)
        if order == "time"
        else cleaning.rows_in_order(_read(events, ids, events_form, reader), ids, findings),
        lambda wanted: cleaning.items(
            _read(catalogue, (item_columns.item, *item_columns.text), items_form, reader),
            item_columns.item,
            item_columns.text,
            findings,
        ),
        findings,
        timed=order == "time",
    )


def _read(path: Path, columns: Sequence[str], form: TextFormat, reader: Reader) -> Iterable[Chunk]:
    if path.suffix == ".parquet":
        return read_parquet(path, columns, reader)
    return read_text(path, columns, form, reader)
