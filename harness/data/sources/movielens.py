"""MovieLens 100K as it ships inside recbole's wheel, cut into domains by genre.

F. Maxwell Harper and Joseph A. Konstan. "The MovieLens Datasets: History and Context". ACM TiiS 5(4), 2015.
"""

import importlib.util
from pathlib import Path

import pandas as pd

from harness.data.raw import RawDomain
from harness.errors import HarnessError

#: A film belongs to the first group that shares a genre with it, so to exactly one domain. The groups go from
#: the telling genres to the broad ones: most films carry Comedy or Drama beside something more telling.
#: Documentaries and films of unknown genre (47 of 1,682 films, 657 of 100,000 ratings) are in no group.
GENRE_GROUPS: dict[str, frozenset[str]] = {
    "thriller": frozenset({"Thriller", "Crime", "Mystery", "Film-Noir", "Horror"}),
    "action": frozenset({"Action", "Adventure", "Sci-Fi", "War", "Western", "Fantasy"}),
    "comedy": frozenset({"Comedy", "Animation", "Children's", "Musical"}),
    "drama": frozenset({"Drama", "Romance"}),
}


def read_movielens_100k_genre(name: str, part: str) -> RawDomain:
    """The films of one genre group. Every rating is an interaction, whatever its stars.

    An item's text is its title, its year and all its genres: "Toy Story 1995 Animation Children's Comedy".

    Raises:
        HarnessError: `part` is no genre group, or the files are not where recbole's wheel puts them.
    """
    if part not in GENRE_GROUPS:
        raise HarnessError.unknown("genre group", part, GENRE_GROUPS)
    folder = _packaged_folder()
    films = _read(folder / "ml-100k.item", ["item_id", "movie_title", "release_year", "class"])
    genres = films["class"].str.split()
    films["text"] = films["movie_title"] + " " + films["release_year"] + " " + films["class"]
    films = films[genres.map(group_of) == part]

    ratings = _read(folder / "ml-100k.inter", ["user_id", "item_id", "rating", "timestamp"])
    ratings["timestamp"] = ratings["timestamp"].astype("int64")
    ratings = ratings[ratings["item_id"].isin(films["item_id"])]
    return RawDomain(name, ratings[["user_id", "item_id", "timestamp"]], films[["item_id", "text"]])


def group_of(genres: list[str]) -> str | None:
    """The genre group of a film with these genres; None if it is in no group."""
    return next((name for name, group in GENRE_GROUPS.items() if group.intersection(genres)), None)


def _packaged_folder() -> Path:
    # find_spec looks without importing: recbole takes seconds to import.
    spec = importlib.util.find_spec("recbole")
    if spec is None or not spec.submodule_search_locations:
        raise HarnessError("MovieLens 100K ships inside recbole, which is not installed.", "Run: make install.")
    return Path(next(iter(spec.submodule_search_locations))) / "dataset_example" / "ml-100k"


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    """An atomic file of RecBole: tab-separated, each header cell `name:type`."""
    if not path.is_file():
        raise HarnessError(f"No file {path}.", "Reinstall recbole 1.2.1: its wheel carries it.")
    frame = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, quoting=3)
    frame.columns = [column.partition(":")[0] for column in frame.columns]
    missing = set(columns) - set(frame.columns)
    if missing:
        raise HarnessError(f"{path}: no column {sorted(missing)[0]!r}.", "Reinstall recbole 1.2.1.")
    return frame
