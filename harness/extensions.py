"""Extensions found by entry point: data sources, metrics, candidate sets, slices, board columns and merging rules."""

import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from harness.errors import HarnessError, UnavailableError

#: Prefix of the names of all groups of entry points.
GROUP_PREFIX = "cdsr_harness."

SOURCES = "cdsr_harness.sources"
METRICS = "cdsr_harness.metrics"
LIST_METRICS = "cdsr_harness.list_metrics"
CANDIDATE_SETS = "cdsr_harness.candidate_sets"
SLICES = "cdsr_harness.slices"
COLUMNS = "cdsr_harness.columns"


def extensions(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group, by name, sorted.

    Raises:
        HarnessError: two installed distributions offer one name.
    """
    return _extensions(group, tuple(sys.path))


def load_extension(entry: EntryPoint) -> Any:
    """The object that an entry point names.

    Raises:
        UnavailableError: its package cannot be imported.
        HarnessError: its module fails when it is imported, or lacks the object.
    """
    named = f"{entry.name!r} of {_distribution(entry)} (entry point {entry.value} in {entry.group})"
    try:
        return entry.load()
    except ImportError as error:
        raise UnavailableError(f"{named} cannot be imported: {error}.", "Install what it needs.") from error
    except Exception as error:
        raise HarnessError(
            f"{named} cannot be loaded: {type(error).__name__}: {error}.", "Report it to the package's authors."
        ) from error


@cache
def _extensions(group: str, _path: tuple[str, ...]) -> dict[str, EntryPoint]:
    """Cached by the import path: reading the metadata of all installed distributions takes a while."""
    entries: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        other = entries.setdefault(entry.name, entry)
        if _distribution(other) != _distribution(entry):
            raise HarnessError(
                f"{entry.name!r} in {group} is offered by two installed distributions: {_distribution(other)} and "
                f"{_distribution(entry)}.",
                "Uninstall one of them, or rename its entry point.",
            )
    return dict(sorted(entries.items()))


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "an unknown distribution"
