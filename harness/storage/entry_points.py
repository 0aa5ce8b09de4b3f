"""Plug-ins found by entry point: one function for methods, data sources and every other kind of plug-in."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from harness.errors import HarnessError, UnavailableError

#: Prefix of all entry point groups of the harness. Packages with an entry point in such a group are hashed as code.
GROUP_PREFIX = "cdsr_harness."
_OWN_DISTRIBUTION = "cdsr-harness"


def entries_by_name(group: str) -> dict[str, list[EntryPoint]]:
    """Return the entry points of a group by name: one, or several where several distributions offer the name."""
    return {name: list(entries) for name, entries in _cached_entries(group, tuple(sys.path))}


def load_plugin(kind: str, group: str, name: str) -> Any:
    """Import the object behind an entry point.

    Args:
        kind: what to call it in errors, such as `source`.
        group: the entry point group.
        name: the entry point's name.

    Raises:
        HarnessError: no distribution offers the name, or several do, or importing it raises an exception.
        UnavailableError: it cannot be imported because a module is missing.
    """
    entries = entries_by_name(group)
    if name not in entries:
        raise HarnessError.unknown(kind, name, entries)
    entry = single_entry(kind, name, entries[name])
    with plugin_errors(kind, name, entry):
        return entry.load()


def single_entry(kind: str, name: str, entries: Sequence[EntryPoint]) -> EntryPoint:
    """Return the only entry point of a name.

    Raises:
        HarnessError: several distributions offer the name.
    """
    offering = sorted({distribution_name(entry) for entry in entries})
    if len(offering) > 1:
        removable = next(name for name in reversed(offering) if name != _OWN_DISTRIBUTION)
        raise HarnessError(
            f"{kind.capitalize()} {name!r} is offered by several installed distributions: {', '.join(offering)}.",
            f"Uninstall one of them, such as by: pip uninstall {removable}, or rename its entry point.",
        )
    return entries[0]


@contextmanager
def plugin_errors(kind: str, name: str, entry: EntryPoint) -> Iterator[None]:
    """Turn exceptions of a plug-in's code into errors that name the plug-in.

    Raises:
        UnavailableError: the block raised an ImportError.
        HarnessError: the block raised any other exception.
    """
    try:
        yield
    except HarnessError:
        raise
    except ImportError as error:
        raise UnavailableError(
            f"{kind.capitalize()} {name!r} cannot be imported: {error}.", "Install what it needs."
        ) from error
    except Exception as error:
        distribution = f" of {entry.dist.name} {entry.dist.version}" if entry.dist else ""
        raise HarnessError(
            f"{kind.capitalize()} {name!r}{distribution} (entry point {entry.value}) cannot be made: "
            f"{type(error).__name__}: {error}.",
            "Report it to its authors, or run without it.",
        ) from error


def distribution_name(entry: EntryPoint) -> str:
    """Name of the distribution that offers an entry point; empty if unknown."""
    return entry.dist.name if entry.dist else ""


@lru_cache(maxsize=64)
def _cached_entries(group: str, path: tuple[str, ...]) -> tuple[tuple[str, tuple[EntryPoint, ...]], ...]:  # noqa: ARG001
    """Cached, as reading the metadata of all installed distributions takes tens of milliseconds.

    `path` is `sys.path`, which decides what is installed.
    """
    entries: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in entry_points(group=group):
        entries[entry.name] = (*entries.get(entry.name, ()), entry)
    return tuple(entries.items())
