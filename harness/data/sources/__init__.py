"""Readers of raw data, one module a format, each giving the same two tables."""

from collections.abc import Callable

from harness.data.raw import RawDomain
from harness.data.sources.movielens import read_movielens_100k_genre
from harness.errors import HarnessError

#: Source name in a suite file -> reader. A reader takes the domain's name and which part of the source it is.
SOURCES: dict[str, Callable[[str, str], RawDomain]] = {
    "movielens-100k-genre": read_movielens_100k_genre,
}


def read(source: str, name: str, part: str) -> RawDomain:
    """Reads one domain from a named source.

    Raises:
        HarnessError: unknown source or part, or a file that is missing or unreadable.
    """
    if source not in SOURCES:
        raise HarnessError.unknown("source", source, SOURCES)
    return SOURCES[source](name, part)
