"""Digests of the code that a result depends on.

A digest of whole files would change whenever a docstring is reworded or a neighbouring function is added. So code is
followed from the functions that run, definition by definition, through first-party imports (relative ones and those
inside functions too), and hashed as abstract syntax: see `code_parse` for what is left out of that.

Included are:

- the definition of every name that an included function, class or assignment uses;
- what importing a module executes, for every first-party module that an included module imports: statements other
  than definitions, assignments of a call's value, and definitions under a decorator that is not known to be harmless;
- a whole module, where it is used as a value (`getattr(module, name)`), or where the definition of a name is not found.

Third-party packages and the standard library are not followed: their versions stand for them. Names that code looks up
by a string at run time are not seen; they must be declared.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache, partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

from harness.errors import HarnessError
from harness.storage.code_closure import CodeClosure
from harness.storage.code_modules import find_module, forget_module_files, is_first_party, modules_below
from harness.storage.code_parse import parse_module
from harness.storage.files import digest


def code_digest(*roots: object) -> str:
    """SHA-256 (hex) of the code that decides what some functions, classes or objects compute.

    Args:
        roots: functions, classes, partials, objects (which stand for their classes and functions), or names written
            `module:name` or `module`.

    Raises:
        HarnessError: the module of a root cannot be found.
    """
    return _digest(tuple(sorted(set(_root_names(roots)))))


@cache
def source_digest(*packages: str) -> str:
    """SHA-256 (hex) of all code of some modules and packages, hashed as in `code_digest`.

    Raises:
        HarnessError: a package cannot be found.
    """
    names = [name for package in sorted(set(packages)) for name in modules_below(package)]
    return digest([[name, [s.form for s in parse_module(name).statements]] for name in names])


def forget_modules() -> None:
    """Clear what is cached about modules, after some were added or changed while this process runs."""
    for cached in (_digest, source_digest):
        cached.cache_clear()
    parse_module.cache_clear()
    forget_module_files()


def bound_values(root: object) -> list[object]:
    """The plain values that an object or function holds besides its code: attributes, closures, bound arguments.

    They tell apart objects of equal code and other parameters. Paths, and objects of the harness's own types, are left
    out: they say where and on what something runs.

    Returns:
        JSON values, in a fixed order.
    """
    return list(_values(root, set()))


@cache
def _digest(roots: tuple[str, ...]) -> str:
    return digest(sorted(CodeClosure(roots).forms()))


def _root_names(roots: Iterable[object]) -> Iterator[str]:
    for value in _reachable(roots):
        if isinstance(value, str):
            module, _, name = value.partition(":")
            if find_module(module) is None:
                raise HarnessError(f"Module {module!r} cannot be found.", "Install the package it belongs to.")
            yield value
        elif isinstance(value, ModuleType):
            yield value.__name__
        else:
            module, name = value.__module__, value.__qualname__.partition(".")[0]  # type: ignore[attr-defined]
            if is_first_party(module):
                yield f"{module}:{name}"


def _reachable(roots: Iterable[object]) -> Iterator[object]:
    """Names, modules, functions and classes among some objects and what they hold."""
    seen: set[int] = set()
    pending: list[tuple[object, bool]] = [(value, True) for value in reversed(list(roots))]
    alive: list[object] = []  # so that no id is used twice
    while pending:
        value, is_root = pending.pop()
        if id(value) in seen or value is None:
            continue
        seen.add(id(value))
        alive.append(value)
        if isinstance(value, str):
            if is_root:
                yield value
        elif isinstance(value, type | FunctionType | ModuleType):
            yield value
            pending += [(part, False) for part in _parts(value)]
        elif not isinstance(value, bool | int | float | complex | bytes):
            if _has_own_class(value):
                yield type(value)
            pending += [(part, False) for part in _parts(value)]


def _has_own_class(value: object) -> bool:
    return not isinstance(value, partial | MethodType | Mapping | list | tuple | set | frozenset)


def _parts(value: object) -> list[Any]:
    """What a function, a partial, a container or an object of first-party code holds."""
    if isinstance(value, FunctionType):
        closure = [cell.cell_contents for cell in value.__closure__ or () if not _is_empty(cell)]
        return [*closure, *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
    if "__wrapped__" in getattr(value, "__dict__", {}):  # such as by functools.cache
        return [value.__wrapped__]  # type: ignore[attr-defined]
    if isinstance(value, partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if isinstance(value, type | ModuleType) or not is_first_party(type(value).__module__):
        return []
    # Objects of the harness's own types are data passed to code, and hold no code.
    if type(value).__module__.partition(".")[0] == "harness":
        return []
    if is_dataclass(value):
        return [getattr(value, field.name) for field in fields(value)]
    return list(getattr(value, "__dict__", {}).values())


def _is_empty(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - a cell that was never filled raises
    except ValueError:
        return True
    return False


def _values(value: object, seen: set[int]) -> Iterator[object]:
    if value is None or isinstance(value, bool | int | str):
        yield value
    elif isinstance(value, float | complex | bytes):
        yield repr(value)
    elif id(value) not in seen and not isinstance(value, type | ModuleType):
        seen.add(id(value))
        if isinstance(value, Mapping):
            yield from (str(key) for key in value)
        elif _has_own_class(value) and not isinstance(value, FunctionType):
            yield f"{type(value).__module__}.{type(value).__qualname__}"
        elif isinstance(value, FunctionType):
            yield f"{value.__module__}.{value.__qualname__}"
        parts = _parts(value)
        for part in sorted(parts, key=repr) if isinstance(value, set | frozenset) else parts:
            yield from _values(part, seen)
