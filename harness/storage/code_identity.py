"""What code decides a result: the definitions that some functions and classes depend on, and one digest of them.

A digest by file would name an artefact anew when a docstring is reworded or a neighbour is added. So code is followed
from what is run, definition by definition, through first-party imports (also relative ones, and those inside
functions), and hashed as abstract syntax. What does not decide what is computed is left out: comments, formatting,
docstrings, the annotations of functions, the words of errors, and whatever is not reached.

What is followed:

- every name that a reached function, class or assignment uses, where the same module binds it or imports it;
- what a module does when it is imported, of every first-party module that a reached module imports: statements other
  than definitions, assignments of a call's value, and definitions under a decorator that is not known to be harmless;
- a whole module, where it is used as a value (`getattr(module, name)`), or where a name's definition is not to be seen.

Third-party packages and the standard library are not followed: their versions stand for them. What is found at run
time by a name in a string is not seen, and must be declared.
"""

import ast
import builtins
import hashlib
import importlib.util
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache, partial
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, distributions
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

from harness.errors import HarnessError
from harness.storage.files import canonical_json, digest

#: A distribution with entry points in a group of this prefix offers methods, and its packages are followed.
GROUP_PREFIX = "cdsr_harness."

#: A name, and the module and attribute that it was imported from; no attribute for the module itself.
_Target = tuple[str, str | None]

_Function = ast.FunctionDef | ast.AsyncFunctionDef

#: Decorators that do nothing but to what they decorate, and calls that have no effect but their value.
# fmt: off
_HARMLESS_DECORATORS = frozenset(
    {
        "cache", "cached_property", "contextmanager", "dataclass", "final", "inference_mode", "lru_cache",
        "no_grad", "overload", "runtime_checkable", "total_ordering", "unique", "wraps",
    }
)
_HARMLESS_CALLS = frozenset(
    {
        "Field", "NewType", "Path", "TypeVar", "cast", "compile", "dict", "field", "float", "frozenset",
        "getLogger", "int", "iinfo", "len", "list", "max", "min", "namedtuple", "partial", "range", "resolve",
        "set", "sorted", "str", "tuple", "zip",
    }
)
# fmt: on


def code_digest(*roots: object) -> str:
    """SHA-256 (hex) of the code that decides what some functions, classes or objects compute.

    Args:
        roots: functions, classes, partials, objects whose classes and functions are meant, or names written
            `module:name` or `module`.

    Raises:
        HarnessError: the source of a root cannot be found.
    """
    return _digest(tuple(sorted(set(_roots_of(roots)))))


def code_reached(*roots: object) -> list[str]:
    """What `code_digest` hashes, as `module:name`; statements without a name as `module:*`."""
    closure = _Closure(sorted(set(_roots_of(roots))))
    return sorted({f"{m.name}:{','.join(s.binds) or '*'}" for m, s in closure.statements()})


@cache
def source_digest(*packages: str) -> str:
    """SHA-256 (hex) of all the code of some modules and packages: as `code_digest`, with nothing left out.

    Raises:
        HarnessError: a package cannot be found.
    """
    names = [name for package in sorted(set(packages)) for name in _modules_below(package)]
    return digest([[name, [s.form for s in _module(name).statements]] for name in names])


def forget_modules() -> None:
    """Reads modules anew from now on: for modules that were added or changed while this process runs."""
    for cached in (_digest, source_digest, _module, _find, _is_first_party, _offering):
        cached.cache_clear()


def bound_values(root: object) -> list[object]:
    """The plain values that an object or a function carries beside its code: attributes, closures, bound arguments.

    Equal code with other parameters is told apart by these. Paths, and objects of the harness's own types, are left
    out: they say where and on what something runs.

    Returns:
        JSON values, in a fixed order.
    """
    return list(_values(root, set()))


@cache
def _digest(roots: tuple[str, ...]) -> str:
    return digest(sorted(_Closure(roots).forms()))


def _roots_of(objects: Iterable[object]) -> Iterator[str]:
    for value, _ in _reachable(objects):
        if isinstance(value, str):
            module, _, name = value.partition(":")
            if _find(module) is None:
                raise HarnessError(f"Module {module!r} cannot be found.", "Install the package it belongs to.")
            yield value
        elif isinstance(value, ModuleType):
            yield value.__name__
        else:
            module, name = value.__module__, value.__qualname__.partition(".")[0]  # type: ignore[attr-defined]
            if _is_first_party(module):
                yield f"{module}:{name}"


def _reachable(objects: Iterable[object]) -> Iterator[tuple[object, object]]:
    """Names, modules, functions and classes among some objects and what they hold; each with the object it is of."""
    seen: set[int] = set()
    waiting: list[tuple[object, bool]] = [(value, True) for value in reversed(list(objects))]
    kept: list[object] = []  # so that no id is used twice
    while waiting:
        value, given = waiting.pop()
        if id(value) in seen or value is None:
            continue
        seen.add(id(value))
        kept.append(value)
        if isinstance(value, str):
            if given:
                yield value, value
        elif isinstance(value, type | FunctionType | ModuleType):
            yield value, value
            waiting += [(part, False) for part in _parts(value)]
        elif not isinstance(value, bool | int | float | complex | bytes):
            if _own_class(value):
                yield type(value), value
            waiting += [(part, False) for part in _parts(value)]


def _own_class(value: object) -> bool:
    return not isinstance(value, partial | MethodType | Mapping | list | tuple | set | frozenset)


def _parts(value: object) -> list[Any]:
    """What a function, a partial, a container or an object of first-party code holds."""
    if isinstance(value, FunctionType):
        held = [cell.cell_contents for cell in value.__closure__ or () if not _empty(cell)]
        return [*held, *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
    if "__wrapped__" in getattr(value, "__dict__", {}):  # of functools.cache and its kin
        return [value.__wrapped__]  # type: ignore[attr-defined]
    if isinstance(value, partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if isinstance(value, type | ModuleType) or not _is_first_party(type(value).__module__):
        return []
    # Objects of the harness's own types are data that code is given, and hold none.
    if type(value).__module__.partition(".")[0] == "harness":
        return []
    if is_dataclass(value):
        return [getattr(value, own.name) for own in fields(value)]
    return list(getattr(value, "__dict__", {}).values())


def _empty(cell: Any) -> bool:
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
        elif _own_class(value) and not isinstance(value, FunctionType):
            yield f"{type(value).__module__}.{type(value).__qualname__}"
        elif isinstance(value, FunctionType):
            yield f"{value.__module__}.{value.__qualname__}"
        parts = _parts(value)
        for part in sorted(parts, key=repr) if isinstance(value, set | frozenset) else parts:
            yield from _values(part, seen)


@dataclass(frozen=True)
class _Statement:
    """A top-level statement.

    Attributes:
        form: its syntax without what decides nothing, as JSON.
        binds: the names that it defines.
        uses: names that it uses, each with the attributes asked of it: `("np", "random", "permutation")`.
        imports: what the imports inside its functions bind.
        effect: whether importing the module does something here.
    """

    form: str
    binds: tuple[str, ...]
    uses: frozenset[tuple[str, ...]]
    imports: tuple[tuple[str, _Target], ...]
    effect: bool


@dataclass(frozen=True)
class _Module:
    """A parsed module.

    Attributes:
        name: its full name.
        statements: other than imports.
        imports: what the imports at its top level bind.
        executed: modules that are imported when it is.
        stars: modules of which all names are imported.
    """

    name: str
    statements: tuple[_Statement, ...] = ()
    imports: Mapping[str, _Target] = field(default_factory=dict)
    executed: tuple[str, ...] = ()
    stars: tuple[str, ...] = ()

    def defining(self, name: str) -> list[_Statement]:
        """The statements that bind a name."""
        return [statement for statement in self.statements if name in statement.binds]


class _Closure:
    """All statements that some roots (`module:name`) depend on."""

    def __init__(self, roots: Iterable[str]) -> None:
        self._reached: dict[tuple[str, int], tuple[_Module, _Statement, set[str]]] = {}
        self._executed: set[str] = set()
        self._resolved: set[tuple[str, tuple[str, ...]]] = set()
        self._waiting: list[tuple[_Module, _Statement]] = []
        for root in roots:
            module, _, name = root.partition(":")
            self._take(module, (name,) if name else ())
        while self._waiting:
            self._follow(*self._waiting.pop())

    def statements(self) -> Iterator[tuple[_Module, _Statement]]:
        """What was reached, in no order."""
        yield from ((module, statement) for module, statement, _ in self._reached.values())

    def forms(self) -> Iterator[str]:
        """A line for each statement: its module, its syntax, and what the names in it were imported from."""
        for module, statement, targets in self._reached.values():
            # The order of definitions decides nothing, that of effects does.
            place = module.statements.index(statement) if statement.effect else -1
            effects = sum(s.effect for s in module.statements[:place]) if place >= 0 else -1
            yield canonical_json([module.name, effects, statement.form, sorted(targets)])

    def _include(self, module: _Module, statement: _Statement) -> None:
        key = (module.name, id(statement))
        if key not in self._reached:
            self._reached[key] = (module, statement, set())
            self._waiting.append((module, statement))

    def _take(self, name: str, path: tuple[str, ...]) -> None:
        """Reaches an attribute of a module, or all of it if there is no path."""
        if not _is_first_party(name) or (name, path) in self._resolved:
            return
        self._resolved.add((name, path))
        self._execute(name)
        module = _module(name)
        if not path:
            for statement in module.statements:
                self._include(module, statement)
            for target in module.imports.values():
                self._target(target, ())
            return
        head, *rest = path
        defining = module.defining(head)
        for statement in defining:
            self._include(module, statement)
        if head in module.imports:
            self._target(module.imports[head], tuple(rest))
        elif not defining:
            if _find(f"{name}.{head}") is not None:
                self._take(f"{name}.{head}", tuple(rest))
            elif module.stars:
                for star in module.stars:
                    self._take(star, path)
            else:
                self._take(name, ())

    def _target(self, target: _Target, rest: tuple[str, ...]) -> None:
        module, attribute = target
        self._take(module, rest if attribute is None else (attribute, *rest))

    def _execute(self, name: str) -> None:
        """Reaches what importing a module does; its parents are imported before it."""
        if name in self._executed or not _is_first_party(name):
            return
        self._executed.add(name)
        if "." in name:
            self._execute(name.rpartition(".")[0])
        module = _module(name)
        for statement in module.statements:
            if statement.effect:
                self._include(module, statement)
        for other in module.executed:
            self._execute(other)

    def _follow(self, module: _Module, statement: _Statement) -> None:
        _, _, targets = self._reached[module.name, id(statement)]
        inner = dict(statement.imports)
        for target in inner.values():
            self._execute(target[0])
        for head, *rest in statement.uses:
            imported: _Target | None = inner.get(head, module.imports.get(head))
            if imported is not None:
                targets.add(f"{head}={imported[0]}:{imported[1] or ''}")
                self._target(imported, tuple(rest))
            elif module.defining(head):
                self._take(module.name, (head,))
            elif module.stars and not hasattr(builtins, head):
                for star in module.stars:
                    if _is_first_party(star):
                        self._take(star, (head, *rest))
            if head in ("globals", "vars", "eval", "exec") and imported is None:
                self._take(module.name, ())


@cache
def _module(name: str) -> _Module:
    path = _path_of(name)
    if path is None:
        return _Module(name)
    raw = path.read_bytes()
    if path.suffix == ".py":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return _parsed(name, path.name == "__init__.py", ast.parse(raw))
            except SyntaxError:  # of another Python than this one
                pass
    form = hashlib.sha256(raw).hexdigest()
    return _Module(name, (_Statement(form, (), frozenset(), (), effect=True),))


def _parsed(name: str, is_package: bool, tree: ast.Module) -> _Module:
    package = name if is_package else name.rpartition(".")[0]
    statements: list[_Statement] = []
    imports: dict[str, _Target] = {}
    executed: list[str] = []
    stars: list[str] = []
    for node in _Stripped().whole(tree).body:
        own = [part for part in _outside_functions(node) if isinstance(part, ast.Import | ast.ImportFrom)]
        for statement in own:
            bound, modules, star = _imported(statement, package)
            imports |= bound
            executed += modules
            stars += star
        if not isinstance(node, ast.Import | ast.ImportFrom):
            statements.append(_statement(node, package))
    return _Module(name, tuple(statements), imports, tuple(executed), tuple(stars))


def _statement(node: ast.stmt, package: str) -> _Statement:
    inner: dict[str, _Target] = {}
    for part in ast.walk(node):
        if isinstance(part, ast.Import | ast.ImportFrom):
            inner |= _imported(part, package)[0]
    return _Statement(
        canonical_json(_form(node)), _binds(node), frozenset(_uses(node)), tuple(inner.items()), _has_effect(node)
    )


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    if not isinstance(node, _Function | ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _outside_functions(child)


def _imported(node: ast.Import | ast.ImportFrom, package: str) -> tuple[dict[str, _Target], list[str], list[str]]:
    """What an import binds, the modules that it imports, and those of which it takes all names."""
    bound: dict[str, _Target] = {}
    modules: list[str] = []
    if isinstance(node, ast.Import):
        for alias in node.names:
            modules.append(alias.name)
            bound[alias.asname or alias.name.partition(".")[0]] = (
                alias.name if alias.asname else alias.name.partition(".")[0],
                None,
            )
        return bound, modules, []
    parents = package.split(".")
    origin = ".".join([*parents[: len(parents) - node.level + 1], *([node.module] if node.module else [])])
    source = origin if node.level else node.module or ""
    modules.append(source)
    for alias in node.names:
        if alias.name != "*":
            bound[alias.asname or alias.name] = (source, alias.name)
            if _is_first_party(source) and _find(f"{source}.{alias.name}") is not None:
                modules.append(f"{source}.{alias.name}")
    return bound, modules, [source for alias in node.names if alias.name == "*"]


def _binds(node: ast.stmt) -> tuple[str, ...]:
    if isinstance(node, _Function | ast.ClassDef):
        return (node.name,)
    names: list[str] = []
    for part in _outside_functions(node):
        if isinstance(part, _Function | ast.ClassDef):
            names.append(part.name)
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            names.append(part.id)
    return tuple(dict.fromkeys(names))


def _uses(node: ast.AST) -> Iterator[tuple[str, ...]]:
    """Names, each with the attributes asked of it."""
    waiting = [node]
    while waiting:
        part = waiting.pop()
        chain: list[str] = []
        inner = part
        while isinstance(inner, ast.Attribute):
            chain.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            yield (inner.id, *reversed(chain))
            continue
        if isinstance(part, ast.AnnAssign) and isinstance(part.annotation, ast.Constant):
            # An annotation in quotes.
            with_quotes = part.annotation.value
            if isinstance(with_quotes, str):
                with suppress(SyntaxError):
                    waiting.append(ast.parse(with_quotes, mode="eval"))
        waiting.extend(ast.iter_child_nodes(part))


def _has_effect(node: ast.stmt) -> bool:
    """Whether importing a module does something here beside binding a name."""
    if isinstance(node, _Function | ast.ClassDef):
        return any(_called(decorator) not in _HARMLESS_DECORATORS for decorator in node.decorator_list)
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(not isinstance(part, ast.Name | ast.Tuple | ast.List) for part in targets):
            return True
        value = node.value
        calls = [part for part in _outside_functions(value) if isinstance(part, ast.Call)] if value else []
        return any(_called(call) not in _HARMLESS_CALLS for call in calls)
    return type(node).__name__ != "TypeAlias"


def _called(node: ast.expr) -> str:
    """The last name of what is called, or of a decorator with or without arguments."""
    called = node.func if isinstance(node, ast.Call) else node
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


class _Stripped(ast.NodeTransformer):
    """Takes out what decides nothing: docstrings, functions' annotations, the words of errors, type checkers' parts."""

    def __init__(self) -> None:
        self._in_function = False
        self._in_raise = False

    def whole(self, tree: ast.Module) -> ast.Module:
        """A module without all that."""
        stripped: ast.Module = self.visit(tree)
        return stripped

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """A string that stands alone is documentation."""
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """A decorator may read annotations, a call does not."""
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        """As of other functions."""
        return self._function(node)

    def _function(self, node: _Function) -> ast.AST:
        if all(_called(decorator) in _HARMLESS_DECORATORS for decorator in node.decorator_list):
            node.returns = None
            own = node.args
            for argument in (*own.posonlyargs, *own.args, *own.kwonlyargs, own.vararg, own.kwarg):
                if argument is not None:
                    argument.annotation = None
        outside, self._in_function = self._in_function, True
        stripped = self.generic_visit(node)
        self._in_function = outside
        return stripped

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Fields are declared by annotations, so a class keeps them."""
        outside, self._in_function = self._in_function, False
        stripped = self.generic_visit(node)
        self._in_function = outside
        return stripped

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        """Annotations of local variables are never evaluated."""
        self.generic_visit(node)
        if not self._in_function:
            return node
        if node.value is None:
            return None
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_If(self, node: ast.If) -> Any:
        """What only type checkers read, or only a script runs, is not imported."""
        test = node.test
        name = _called(test)
        script = isinstance(test, ast.Compare) and getattr(test.left, "id", "") == "__name__"
        if name == "TYPE_CHECKING" or script:
            return [self.visit(part) for part in node.orelse]
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """The kind of an error may decide something, its words do not."""
        outside, self._in_raise = self._in_raise, True
        stripped = self.generic_visit(node)
        self._in_raise = outside
        return stripped

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """Words of an error, or a value."""
        return ast.Constant("") if self._in_raise and isinstance(node.value, str) else node


def _form(node: object) -> object:
    """Syntax as JSON values, the same under every version of Python that can read it."""
    if isinstance(node, ast.AST):
        # Fields that are empty, such as those that later versions added, are left out.
        parts = {
            name: value for name, value in ast.iter_fields(node) if name not in _NO_FORM and value not in (None, [])
        }
        if isinstance(node, ast.JoinedStr):
            parts = {"values": _joined(node)}
        spec = parts.get("format_spec")
        if isinstance(spec, ast.JoinedStr) and not spec.values:
            del parts["format_spec"]
        if isinstance(node, ast.Constant):
            return ["Constant", type(node.value).__name__, repr(node.value)]
        return [type(node).__name__, {name: _form(value) for name, value in parts.items()}]
    if isinstance(node, list):
        return [_form(part) for part in node]
    return repr(node)


_NO_FORM = frozenset({"ctx", "kind", "simple", "type_comment", "type_ignores"})


def _joined(node: ast.JoinedStr) -> list[ast.expr]:
    """The parts of an f-string, neighbouring texts as one: versions of Python cut them differently."""
    parts: list[ast.expr] = []
    for part in node.values:
        last = parts[-1] if parts else None
        if isinstance(part, ast.Constant) and isinstance(last, ast.Constant):
            parts[-1] = ast.Constant(str(last.value) + str(part.value))
        elif not (isinstance(part, ast.Constant) and part.value == ""):
            parts.append(part)
    return parts


@cache
def _find(name: str) -> ModuleSpec | None:
    """Where a module is, without importing it or its parents; None if it is nowhere."""
    parent, _, _ = name.rpartition(".")
    try:
        if not parent:
            return importlib.util.find_spec(name) if name else None
        above = _find(parent)
        if above is None or above.submodule_search_locations is None:
            return None
        return PathFinder.find_spec(name, list(above.submodule_search_locations))
    except (ImportError, ValueError):
        return None


def _path_of(name: str) -> Path | None:
    """A module's file; None of a folder without `__init__.py`."""
    spec = _find(name)
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return None
    return Path(spec.origin)


def _modules_below(package: str) -> list[str]:
    spec = _find(package)
    if spec is None:
        raise HarnessError(f"Module {package!r} cannot be found.", "Install the package it belongs to.")
    names = [package]
    for folder in spec.submodule_search_locations or ():
        for path in sorted(Path(folder).rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            names.append(".".join([package, *(parts[:-1] if parts[-1] == "__init__" else parts)]))
    return sorted(set(names))


@cache
def _is_first_party(name: str) -> bool:
    """Whether a module is followed: not of the standard library, nor installed with what offers no method."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top == "":
        return False
    spec = _find(top)
    if spec is None:
        return False
    origins = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    installed = any({"site-packages", "dist-packages"} & set(Path(origin).parts) for origin in origins)
    return not installed or top in _offering()


@cache
def _offering() -> frozenset[str]:
    """Top-level packages of the installed distributions that offer methods."""
    found: set[str] = set()
    for distribution in distributions():
        entries = [e for e in distribution.entry_points if e.group.startswith(GROUP_PREFIX)]
        if entries:
            found |= {entry.module.partition(".")[0] for entry in entries} | _top_levels(distribution)
    return frozenset(found)


def _top_levels(distribution: Distribution) -> set[str]:
    files = distribution.files or ()
    modules = {Path(file.parts[0]).stem for file in files if file.suffix in (".py", ".so", ".pyd")}
    return modules | set((distribution.read_text("top_level.txt") or "").split())
