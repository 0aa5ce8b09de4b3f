"""Find Python modules without importing them, and decide whose code counts as first-party."""

import importlib.util
import sys
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, distributions
from pathlib import Path

from harness.errors import HarnessError
from harness.extensions import GROUP_PREFIX


@cache
def find_module(name: str) -> ModuleSpec | None:
    """Find a module without importing it or its parents; None if there is no such module."""
    parent_name, _, _ = name.rpartition(".")
    try:
        if not parent_name:
            return importlib.util.find_spec(name) if name else None
        parent = find_module(parent_name)
        if parent is None or parent.submodule_search_locations is None:
            return None
        return PathFinder.find_spec(name, list(parent.submodule_search_locations))
    except (ImportError, ValueError):
        return None


def module_path(name: str) -> Path | None:
    """A module's file; None for an unknown module and for a folder without `__init__.py`."""
    spec = find_module(name)
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return None
    return Path(spec.origin)


def modules_below(package: str) -> list[str]:
    """Names of a package and of all modules below it, sorted.

    Raises:
        HarnessError: the package cannot be found.
    """
    spec = find_module(package)
    if spec is None:
        raise HarnessError(f"Module {package!r} cannot be found.", "Install the package it belongs to.")
    names = [package]
    for folder in spec.submodule_search_locations or ():
        for path in sorted(Path(folder).rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            names.append(".".join([package, *(parts[:-1] if parts[-1] == "__init__" else parts)]))
    return sorted(set(names))


@cache
def is_first_party(name: str) -> bool:
    """Whether a module's code is hashed.

    Modules of the standard library are not; installed ones are only if their distribution offers plug-ins.
    """
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top == "":
        return False
    spec = find_module(top)
    if spec is None:
        return False
    origins = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    installed = any({"site-packages", "dist-packages"} & set(Path(origin).parts) for origin in origins)
    return not installed or top in _plugin_packages()


@cache
def _plugin_packages() -> frozenset[str]:
    """Top-level packages of the installed distributions that offer plug-ins."""
    packages: set[str] = set()
    for distribution in distributions():
        entries = [entry for entry in distribution.entry_points if entry.group.startswith(GROUP_PREFIX)]
        if entries:
            packages |= {entry.module.partition(".")[0] for entry in entries} | _top_levels(distribution)
    return frozenset(packages)


def _top_levels(distribution: Distribution) -> set[str]:
    files = distribution.files or ()
    modules = {Path(file.parts[0]).stem for file in files if file.suffix in (".py", ".so", ".pyd")}
    return modules | set((distribution.read_text("top_level.txt") or "").split())


def forget_module_files() -> None:
    """Clear what is cached about where modules are."""
    for cached in (find_module, is_first_party, _plugin_packages):
        cached.cache_clear()
