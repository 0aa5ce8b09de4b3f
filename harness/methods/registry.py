"""Finds methods by name: installed ones by entry point, and those in a user's file.

A name is one of three:

- `markov`: an entry point of the group `cdsr_harness.methods`, a class or function that is called without arguments;
- `recbole.NARM`: an entry point of the group `cdsr_harness.method_families`, called with what follows the first dot;
- `./my_method.py:Markov`: a class or function in a file; see `harness.methods.method_file`.

The harness's own methods are found in the same way as those of other packages. Variants, which a suite defines, are
made from these; see `harness.run.methods`.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, UnavailableError
from harness.extensions import distribution_name, entries_by_name, extensions, single_entry
from harness.methods.api import Method
from harness.methods.method_file import MethodFile, is_file_reference

ENTRY_POINTS = "cdsr_harness.methods"
#: Entry points that make a method from the part of its name after the first dot: `recbole.NARM`.
FAMILIES = "cdsr_harness.method_families"


def method_names() -> list[str]:
    """Names of all installed methods.

    Raises:
        HarnessError: two distributions offer one name.
    """
    return sorted(extensions(ENTRY_POINTS))


def family_names() -> list[str]:
    """Names of all installed families of methods.

    Raises:
        HarnessError: two distributions offer one name.
    """
    return sorted(extensions(FAMILIES))


def is_installed(name: str) -> bool:
    """Whether a name is that of an installed method, or of a member of an installed family."""
    family, _, member = name.partition(".")
    return name in entries_by_name(ENTRY_POINTS) or bool(member and family in entries_by_name(FAMILIES))


def check_known(name: str, others: Sequence[str] = ()) -> None:
    """Check that a method of that name is installed.

    Args:
        name: the name.
        others: more names to suggest where it is none.

    Raises:
        HarnessError: there is none; near names are suggested.
    """
    if not is_installed(name):
        known = [*entries_by_name(ENTRY_POINTS), *(f"{family}.<name>" for family in entries_by_name(FAMILIES)), *others]
        raise HarnessError.unknown("method", name, known)


def make_method(name: str) -> Method:
    """A method with its default settings.

    Args:
        name: of an installed method, or `path.py:name` with a path relative to the working directory.

    Raises:
        HarnessError: no such method, or one that two distributions offer; its code raises something; or what it makes
            is no method.
        UnavailableError: its package cannot be imported.
    """
    if is_file_reference(name):
        file = MethodFile.parse(name, Path())
        method = file.make()
        described = f"{file.attribute} in {file.path.name}"
    else:
        entry = _entry(name)
        with _errors_named(name, entry):
            factory = entry.load()
            method = factory() if entry.group == ENTRY_POINTS else factory(name.partition(".")[2])
        described = f"Method {name!r}"
    missing = _missing_members(method)
    if missing:
        raise HarnessError(f"{described} is no method: {missing}.", "See harness.methods.api.Method.")
    made: Method = method
    return made


def factory_of(name: str) -> Callable[..., Method]:
    """What makes a method of that name; a family's is called with the part of the name after the first dot.

    Raises:
        HarnessError, UnavailableError: as `make_method`.
    """
    if is_file_reference(name):
        return MethodFile.parse(name, Path()).load()
    entry = _entry(name)
    with _errors_named(name, entry):
        factory: Callable[..., Method] = entry.load()
        return factory


def not_installed() -> dict[str, str]:
    """What methods and families lack, by name, of those whose packages are not all installed.

    Looks for modules without importing them; packages around a module are imported, and say what they lack.
    """
    offered = {
        **{f"{name}.<name>": entry for name, entry in entries_by_name(FAMILIES).items()},
        **entries_by_name(ENTRY_POINTS),
    }
    lacking = {}
    for name, entries in offered.items():
        try:
            if find_spec(entries[0].module) is None:
                lacking[name] = f"Module {entries[0].module!r} cannot be found."
        except (ImportError, UnavailableError) as error:
            lacking[name] = str(error)
    return lacking


def packages_of(name: str) -> tuple[str, ...]:
    """Top-level packages of the methods that come in one distribution with this one; of a file, its own."""
    if is_file_reference(name):
        return (MethodFile.parse(name, Path()).module.partition(".")[0],)
    entry = _entry(name)
    home = distribution_name(entry)
    siblings = [
        e for entries in entries_by_name(entry.group).values() for e in entries if home and distribution_name(e) == home
    ]
    return tuple(sorted({e.module.partition(".")[0] for e in siblings or [entry]}))


def _missing_members(method: Any) -> str | None:
    """What an object lacks to be a method; None if it is one."""
    if isinstance(method, type):
        return "it is a class, not an object of it"
    settings = getattr(method, "settings", None)
    if not hasattr(method, "settings"):
        return "it has no member 'settings'"
    if not dataclasses.is_dataclass(settings) or isinstance(settings, type):
        return f"its settings are {type(settings).__name__}, not an object of a frozen dataclass"
    if not callable(getattr(method, "fit", None)):
        return "it has no method 'fit'"
    return None


@contextmanager
def _errors_named(name: str, entry: EntryPoint) -> Iterator[None]:
    """Raise what a method's own code raises as a `HarnessError` that names the method."""
    try:
        yield
    except HarnessError:
        raise
    except ImportError as error:
        raise UnavailableError(f"Method {name!r} cannot be imported: {error}.", "Install what it needs.") from error
    except Exception as error:
        distribution = f" of {entry.dist.name} {entry.dist.version}" if entry.dist else ""
        raise HarnessError(
            f"Method {name!r}{distribution} (entry point {entry.value}) cannot be made: {type(error).__name__}: "
            f"{error}.",
            "Report it to its authors, or run without it.",
        ) from error


def _entry(name: str) -> EntryPoint:
    """The entry point of a method, or of the family that it is a member of."""
    methods = entries_by_name(ENTRY_POINTS)
    if name in methods:
        return single_entry(ENTRY_POINTS, name, methods[name])
    check_known(name)
    family = name.partition(".")[0]
    return single_entry(FAMILIES, family, entries_by_name(FAMILIES)[family])
