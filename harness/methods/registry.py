"""Finds methods by entry point: the harness's own as it would a stranger's."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec

from harness.errors import HarnessError, UnavailableError
from harness.methods.api import Method

ENTRY_POINTS = "cdsr_harness.methods"
#: Entry points that make a method from the part of its name after the first dot: `recbole.NARM`.
FAMILIES = "cdsr_harness.method_families"


def method_names() -> list[str]:
    """Names of all installed methods.

    Raises:
        HarnessError: two distributions offer one name.
    """
    return sorted(_only("Method", name, offered).name for name, offered in _entries(ENTRY_POINTS).items())


def family_names() -> list[str]:
    """Names of all installed families of methods.

    Raises:
        HarnessError: two distributions offer one name.
    """
    return sorted(_only("Family of methods", name, offered).name for name, offered in _entries(FAMILIES).items())


def make_method(name: str) -> Method:
    """A method with its default settings.

    Raises:
        HarnessError: no such method, or one that two distributions offer; or its code raises something.
        UnavailableError: its package cannot be imported.
    """
    make, entry = factory_of(name), _entry(name)
    with _told_as_made(name, entry):
        return make() if entry.group == ENTRY_POINTS else make(name.partition(".")[2])


def factory_of(name: str) -> Callable[..., Method]:
    """What makes a method of that name; a family's is given the part of the name after the first dot.

    Raises:
        HarnessError, UnavailableError: as `make_method`.
    """
    entry = _entry(name)
    with _told_as_made(name, entry):
        factory: Callable[..., Method] = entry.load()
        return factory


@contextmanager
def _told_as_made(name: str, entry: EntryPoint) -> Iterator[None]:
    try:
        yield
    except HarnessError:
        raise
    except ImportError as error:
        raise UnavailableError(f"Method {name!r} cannot be imported: {error}.", "Install what it needs.") from error
    except Exception as error:
        whose = f" of {entry.dist.name} {entry.dist.version}" if entry.dist else ""
        raise HarnessError(
            f"Method {name!r}{whose} (entry point {entry.value}) cannot be made: {type(error).__name__}: {error}.",
            "Report it to its authors, or run without it.",
        ) from error


def not_installed() -> dict[str, str]:
    """What methods and families lack, by name, of those whose packages are not all installed.

    Looks for modules without importing them; packages around a module are imported, and say what they lack.
    """
    offered = {**{f"{name}.<name>": found for name, found in _entries(FAMILIES).items()}, **_entries(ENTRY_POINTS)}
    lacking = {}
    for name, entries in offered.items():
        try:
            if find_spec(entries[0].module) is None:
                lacking[name] = f"Module {entries[0].module!r} cannot be found."
        except (ImportError, UnavailableError) as error:
            lacking[name] = str(error)
    return lacking


def packages_of(name: str) -> tuple[str, ...]:
    """Top-level packages of the methods that come in one distribution with this one."""
    entry = _entry(name)
    home = _distribution(entry)
    siblings = [e for entries in _entries(entry.group).values() for e in entries if home and _distribution(e) == home]
    return tuple(sorted({e.module.partition(".")[0] for e in siblings or [entry]}))


def _entries(group: str) -> dict[str, list[EntryPoint]]:
    """What is offered under each name, by one distribution or several."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=group):
        found.setdefault(entry.name, []).append(entry)
    return found


def _entry(name: str) -> EntryPoint:
    entries, families = _entries(ENTRY_POINTS), _entries(FAMILIES)
    family, _, member = name.partition(".")
    if name in entries:
        return _only("Method", name, entries[name])
    if member and family in families:
        return _only("Family of methods", family, families[family])
    raise HarnessError.unknown("method", name, [*entries, *(f"{name}.<name>" for name in families)])


def _only(kind: str, name: str, offered: Sequence[EntryPoint]) -> EntryPoint:
    distributions = sorted({_distribution(entry) for entry in offered})
    if len(distributions) > 1:
        removed = next(name for name in reversed(distributions) if name != "cdsr-harness")
        raise HarnessError(
            f"{kind} {name!r} is offered by several installed distributions: {', '.join(distributions)}.",
            f"Uninstall one of them, such as by: pip uninstall {removed}, or rename its entry point.",
        )
    return offered[0]


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else ""
