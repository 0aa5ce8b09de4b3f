"""Data sets by name: their sources, their downloads, and their terms of use."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from harness.data.download import RemoteFile
from harness.data.sources import Source, make_source
from harness.errors import HarnessError
from harness.storage.yaml_file import read_yaml

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Dataset:
    """A public data set of one domain.

    Attributes:
        name: its name in suites and commands.
        title: a description of one line.
        source: reads it from files below the data folder.
        folder: for fetched files, below the data folder.
        files: to download; empty if no one publishes the files in this form.
        page: the publisher's page.
        licence: the publisher's terms of use.
        citation: the publication that describes it; empty if none is known.
    """

    name: str
    title: str
    source: Source
    folder: Path
    files: tuple[RemoteFile, ...]
    page: str
    licence: str
    citation: str = ""

    def is_in(self, data_dir: Path) -> bool:
        """Whether all its files are in a data folder, or come with an installed package."""
        return all(path.is_file() for path in self.source.files(data_dir))


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _RemoteEntry(_Strict):
    url: str
    name: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    unpack: bool = False


class _Entry(_Strict):
    name: str
    title: str
    folder: Path
    source: dict[str, Any]
    files: list[_RemoteEntry] = []


class _Publisher(_Strict):
    page: str
    licence: str
    citation: str = ""
    datasets: list[_Entry]


def dataset_names() -> list[str]:
    """Names of all data sets, sorted."""
    return sorted(_all())


def load_dataset(name: str) -> Dataset:
    """Load a data set by name.

    Raises:
        HarnessError: no such data set.
    """
    if name not in _all():
        raise HarnessError.unknown("data set", name, _all(), "See: harness data list.")
    return _all()[name]


@cache
def _all() -> dict[str, Dataset]:
    datasets: dict[str, Dataset] = {}
    for path in sorted(_FOLDER.glob("*.yaml")):
        publisher = _Publisher.model_validate(read_yaml(path))
        for entry in publisher.datasets:
            if entry.name in datasets:
                raise ValueError(f"{path}: {entry.name} is given twice")
            datasets[entry.name] = Dataset(
                name=entry.name,
                title=entry.title,
                source=make_source(entry.source),
                folder=entry.folder,
                files=tuple(RemoteFile(**file.model_dump()) for file in entry.files),
                page=publisher.page,
                licence=publisher.licence,
                citation=publisher.citation,
            )
    return datasets
