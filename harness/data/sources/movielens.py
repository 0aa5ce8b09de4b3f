"""MovieLens (F. Maxwell Harper and Joseph A. Konstan, "The MovieLens Datasets: History and Context", TiiS 5(4), 2015).

100K is part of recbole's wheel and is divided into domains by genre; 1M and 25M are GroupLens's own archives. Every
rating is an interaction, whatever its stars.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from harness.data import parse_columns
from harness.data.readers import Chunk, Reader, TextFormat, read_text, select_rows
from harness.data.records import Findings, RawDomain, ReadProgress, no_read_progress
from harness.data.sources.source import Source
from harness.data.sources.table import Columns, ItemColumns, from_tables
from harness.errors import HarnessError, UnavailableError

#: A film belongs to the first group that shares a genre with it, so to exactly one domain. Specific genres come before
#: broad ones: most films have Comedy or Drama besides a more specific genre. Documentaries and films of unknown genre
#: (47 of 1,682 films, 657 of 100,000 ratings) are in no group.
GENRE_GROUPS: dict[str, frozenset[str]] = {
    "thriller": frozenset({"Thriller", "Crime", "Mystery", "Film-Noir", "Horror"}),
    "action": frozenset({"Action", "Adventure", "Sci-Fi", "War", "Western", "Fantasy"}),
    "comedy": frozenset({"Comedy", "Animation", "Children's", "Musical"}),
    "drama": frozenset({"Drama", "Romance"}),
}

#: RecBole's metadata require an old Ray, which is not needed here and has no wheel for Python 3.12 or later.
INSTALL_RECBOLE = "pip install --no-deps recbole==1.2.1 colorama colorlog texttable"

_ATOMIC = TextFormat("\t", quoted=False, typed_header=True)


class MovieLens100KGenre(Source):
    """The films of one genre group. An item's text is its title, year and all its genres."""

    source: Literal["movielens-100k-genre"] = "movielens-100k-genre"
    users: str | None = "movielens-100k"
    part: str

    def files(self, folder: Path) -> Sequence[Path]:
        """The two files in recbole's wheel; the data folder is not used."""
        # find_spec does not import recbole, which takes seconds.
        spec = importlib.util.find_spec("recbole")
        if spec is None or not spec.submodule_search_locations:
            raise UnavailableError(
                "MovieLens 100K ships inside recbole, which is not installed.", f"Run '{INSTALL_RECBOLE}'."
            )
        packaged = Path(next(iter(spec.submodule_search_locations))) / "dataset_example" / "ml-100k"
        return (packaged / "ml-100k.inter", packaged / "ml-100k.item")

    def open(self, name: str, folder: Path, report: ReadProgress = no_read_progress) -> RawDomain:
        """See `Source.open`."""
        if self.part not in GENRE_GROUPS:
            raise HarnessError.unknown("genre group", self.part, GENRE_GROUPS)
        ratings, films = self.files(folder)
        findings = Findings()
        reader = Reader(findings, report)
        names, text = ("user_id", "item_id", "timestamp"), ("movie_title", "release_year", "class")

        def films_of_group() -> Iterator[Chunk]:
            for chunk in read_text(films, ("item_id", *text), _ATOMIC, reader):
                in_group = [group_of(genres.split()) == self.part for genres in chunk.table["class"].to_pylist()]
                yield select_rows(chunk, pa.array(in_group))

        def ratings_of_group() -> Iterator[Chunk]:
            ids = pa.array(sorted(i for chunk in films_of_group() for i in chunk.table["item_id"].to_pylist()))
            for chunk in read_text(ratings, names, _ATOMIC, reader):
                yield select_rows(chunk, pc.is_in(chunk.table["item_id"], ids).combine_chunks())

        return RawDomain(
            name,
            parse_columns.interactions(ratings_of_group(), names, "s", findings),
            lambda item_ids: parse_columns.items(films_of_group(), "item_id", text, findings),
            findings,
        )


def group_of(genres: list[str]) -> str | None:
    """The genre group of a film with these genres; None if it is in no group."""
    return next((name for name, group in GENRE_GROUPS.items() if group.intersection(genres)), None)


class MovieLens1M(Source):
    """`ratings.dat` and `movies.dat` of ml-1m.zip (or of ml-10m.zip, which has the same format)."""

    source: Literal["movielens-1m"] = "movielens-1m"
    users: str | None = "movielens-1m"
    folder: Path = Path("ml-1m")
    text: tuple[str, ...] = ("title", "genres")

    def files(self, folder: Path) -> Sequence[Path]:
        """The two files."""
        return (folder / self.folder / "ratings.dat", folder / self.folder / "movies.dat")

    def open(self, name: str, folder: Path, report: ReadProgress = no_read_progress) -> RawDomain:
        """See `Source.open`."""
        ratings, films = self.files(folder)
        return from_tables(
            name,
            [(ratings, TextFormat("::", False, "latin-1", ("user", "film", "rating", "timestamp")))],
            Columns(user="user", item="film"),
            [(films, TextFormat("::", False, "latin-1", ("film", "title", "genres")))],
            ItemColumns(item="film", text=self.text),
            "s",
            report,
        )


class MovieLens25M(Source):
    """`ratings.csv` and `movies.csv` of ml-25m.zip (or of ml-20m.zip and ml-32m.zip, which have the same format)."""

    source: Literal["movielens-25m"] = "movielens-25m"
    users: str | None = "movielens-25m"
    folder: Path = Path("ml-25m")
    text: tuple[str, ...] = ("title", "genres")

    def files(self, folder: Path) -> Sequence[Path]:
        """The two files."""
        return (folder / self.folder / "ratings.csv", folder / self.folder / "movies.csv")

    def open(self, name: str, folder: Path, report: ReadProgress = no_read_progress) -> RawDomain:
        """See `Source.open`."""
        ratings, films = self.files(folder)
        return from_tables(
            name,
            [(ratings, TextFormat())],
            Columns(user="userId", item="movieId"),
            [(films, TextFormat())],
            ItemColumns(item="movieId", text=self.text),
            "s",
            report,
        )
