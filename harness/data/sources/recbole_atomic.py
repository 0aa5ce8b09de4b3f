"""RecBole's atomic files: tab-separated, each header cell `name:type` (https://recbole.io/docs/user_guide/data/atomic_files.html)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from harness.data.records import RawDomain, ReadProgress, no_read_progress
from harness.data.sources.source import Source, omitted_if
from harness.data.sources.table import Columns, ItemColumns, Layout, from_tables
from harness.data.times import TimeUnit


class RecBoleAtomic(Source):
    """`<folder>/<stem>.inter` and `.item`; the stem defaults to the folder's name."""

    source: Literal["recbole-atomic"] = "recbole-atomic"
    folder: Path
    stem: str | None = None
    columns: Columns = Columns()
    item_columns: ItemColumns = ItemColumns()
    time_unit: TimeUnit = "s"
    least_rating: float | None = omitted_if(None)
    clean_html: bool = omitted_if(False)

    def files(self, folder: Path) -> Sequence[Path]:
        """The two files."""
        stem = self.stem or self.folder.name
        return tuple(folder / self.folder / f"{stem}.{kind}" for kind in ("inter", "item"))

    def open(self, name: str, folder: Path, report: ReadProgress = no_read_progress) -> RawDomain:
        """See `Source.open`."""
        events, catalogue = self.files(folder)
        form = Layout(delimiter="\t", quoted=False).form(events, typed_header=True)
        return from_tables(
            name, [(events, form)], self.columns, [(catalogue, form)], self.item_columns, self.time_unit, report,
            least_rating=self.least_rating, clean_html=self.clean_html,
        )  # fmt: skip
