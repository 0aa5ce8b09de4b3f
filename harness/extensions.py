"""Extensions found by entry point: data sources, metrics, candidate sets, slices, board columns and merging rules."""

import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import Any

from harness.errors import HarnessError, UnavailableError

#: Prefix of the names of all groups of entry points.
GROUP_PREFIX = "cdsr_harness."
_OWN = "cdsr-harness"

SOURCES = "cdsr_harness.sources"
METRICS = "cdsr_harness.metrics"
LIST_METRICS = "cdsr_harness.list_metrics"
CANDIDATE_SETS = "cdsr_harness.candidate_sets"
SLICES = "cdsr_harness.slices"
COLUMNS = "cdsr_harness.columns"
RECOMMENDERS = "cdsr_harness.recommenders"


def extensions(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group, by name, sorted.

    Raises:
        HarnessError: two installed distributions offer one name.
    """
    return {name: single_entry(group, name, entries) for name, entries in sorted(entries_by_name(group).items())}


def entries_by_name(group: str) -> dict[str, tuple[EntryPoint, ...]]:
    """All entry points of a group by name: more than one where several distributions offer the name."""
    return dict(_entries(group, tuple(sys.path)))


def single_entry(group: str, name: str, entries: Sequence[EntryPoint]) -> EntryPoint:
    """The only entry point of a name.

    Raises:
        HarnessError: two installed distributions offer it.
    """
    first, *others = sorted({distribution_name(entry) for entry in entries}, key=lambda name: (name != _OWN, name))
    if others:
        raise HarnessError(
            f"{name!r} in {group} is offered by two installed distributions: {first} and {others[0]}.",
            f"Uninstall one of them, such as by: pip uninstall {others[0]}, or rename its entry point.",
        )
    return entries[0]


def has_other_packages(group: str) -> bool:
    """Whether another distribution than the harness itself offers something in a group."""
    return any(distribution_name(entry) != _OWN for same_name in entries_by_name(group).values() for entry in same_name)


def load_extension(entry: EntryPoint) -> Any:
    """The object that an entry point names.

    Raises:
        UnavailableError: its package cannot be imported.
        HarnessError: its module fails when it is imported, or lacks the object.
    """
    named = f"{entry.name!r} of {distribution_name(entry)} (entry point {entry.value} in {entry.group})"
    try:
        return entry.load()
    except ImportError as error:
        raise UnavailableError(f"{named} cannot be imported: {error}.", "Install what it needs.") from error
    except Exception as error:
        raise HarnessError(
            f"{named} cannot be loaded: {type(error).__name__}: {error}.", "Report it to the package's authors."
        ) from error


def distribution_name(entry: EntryPoint) -> str:
    """The name of the distribution that offers an entry point."""
    return _metadata_name(entry.dist) if entry.dist else "an unknown distribution"


@cache
def _metadata_name(distribution: Distribution) -> str:
    """Cached: it parses the distribution's metadata."""
    return distribution.name


@cache
def _entries(group: str, _path: tuple[str, ...]) -> dict[str, tuple[EntryPoint, ...]]:
    """Cached by the import path: reading the metadata of all installed distributions takes a while."""
    entries: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in entry_points(group=group):
        entries[entry.name] = (*entries.get(entry.name, ()), entry)
    return entries
