"""Parse modules to abstract syntax without prose: the form in which code is hashed.

Left out is everything that cannot change a computed value: comments, formatting, docstrings, annotations of
functions, error messages, and code that only type checkers or scripts run.
"""

import ast
import hashlib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from harness.storage.code_modules import find_module, is_first_party, module_path
from harness.storage.files import canonical_json

#: The origin of an imported name: a module and an attribute of it, or None for the module itself.
ImportTarget = tuple[str, str | None]

_Function = ast.FunctionDef | ast.AsyncFunctionDef

#: Decorators without a side effect on import, and calls that have no effect but their value.
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

#: Fields of syntax nodes that do not change what code does.
_IGNORED_FIELDS = frozenset({"ctx", "kind", "simple", "type_comment", "type_ignores"})


@dataclass(frozen=True)
class Statement:
    """A top-level statement.

    Attributes:
        form: its stripped syntax, as JSON.
        binds: the names that it defines.
        uses: names that it uses, each with the attributes read from it: `("np", "random", "permutation")`.
        imports: the names bound by imports inside its functions.
        effect: whether importing the module does something here.
    """

    form: str
    binds: tuple[str, ...]
    uses: frozenset[tuple[str, ...]]
    imports: tuple[tuple[str, ImportTarget], ...]
    effect: bool


@dataclass(frozen=True)
class Module:
    """A parsed module.

    Attributes:
        name: its full name.
        statements: all but imports.
        imports: the names bound by imports at its top level.
        executed: modules that are imported when this one is.
        stars: modules of which all names are imported.
    """

    name: str
    statements: tuple[Statement, ...] = ()
    imports: Mapping[str, ImportTarget] = field(default_factory=dict)
    executed: tuple[str, ...] = ()
    stars: tuple[str, ...] = ()

    def defining(self, name: str) -> list[Statement]:
        """The statements that bind a name."""
        return [statement for statement in self.statements if name in statement.binds]


@cache
def parse_module(name: str) -> Module:
    """Parse a module; a file that is no Python source is one statement with the file's SHA-256 as its form."""
    path = module_path(name)
    if path is None:
        return Module(name)
    content = path.read_bytes()
    if path.suffix == ".py":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return _module(name, path.name == "__init__.py", ast.parse(content))
            except SyntaxError:  # written for another version of Python
                pass
    form = hashlib.sha256(content).hexdigest()
    return Module(name, (Statement(form, (), frozenset(), (), effect=True),))


def _module(name: str, is_package: bool, tree: ast.Module) -> Module:
    package = name if is_package else name.rpartition(".")[0]
    statements: list[Statement] = []
    imports: dict[str, ImportTarget] = {}
    executed: list[str] = []
    stars: list[str] = []
    for node in _Stripper().strip(tree).body:
        for part in _outside_functions(node):
            if isinstance(part, ast.Import | ast.ImportFrom):
                bound, modules, star = _imported(part, package)
                imports |= bound
                executed += modules
                stars += star
        if not isinstance(node, ast.Import | ast.ImportFrom):
            statements.append(_statement(node, package))
    return Module(name, tuple(statements), imports, tuple(executed), tuple(stars))


def _statement(node: ast.stmt, package: str) -> Statement:
    inner: dict[str, ImportTarget] = {}
    for part in ast.walk(node):
        if isinstance(part, ast.Import | ast.ImportFrom):
            inner |= _imported(part, package)[0]
    return Statement(
        canonical_json(_form(node)), _binds(node), frozenset(_uses(node)), tuple(inner.items()), _has_effect(node)
    )


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    if not isinstance(node, _Function | ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _outside_functions(child)


def _imported(node: ast.Import | ast.ImportFrom, package: str) -> tuple[dict[str, ImportTarget], list[str], list[str]]:
    """The names an import binds, the modules it imports, and the modules of which it imports all names."""
    bound: dict[str, ImportTarget] = {}
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
            if is_first_party(source) and find_module(f"{source}.{alias.name}") is not None:
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
    """Names, each with the attributes read from it."""
    pending = [node]
    while pending:
        part = pending.pop()
        attributes: list[str] = []
        inner = part
        while isinstance(inner, ast.Attribute):
            attributes.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            yield (inner.id, *reversed(attributes))
            continue
        if isinstance(part, ast.AnnAssign) and isinstance(part.annotation, ast.Constant):
            quoted_annotation = part.annotation.value
            if isinstance(quoted_annotation, str):
                with suppress(SyntaxError):
                    pending.append(ast.parse(quoted_annotation, mode="eval"))
        pending.extend(ast.iter_child_nodes(part))


def _has_effect(node: ast.stmt) -> bool:
    """Whether executing a top-level statement does more than bind a name."""
    if isinstance(node, _Function | ast.ClassDef):
        return any(_called_name(decorator) not in _HARMLESS_DECORATORS for decorator in node.decorator_list)
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(not isinstance(part, ast.Name | ast.Tuple | ast.List) for part in targets):
            return True
        value = node.value
        calls = [part for part in _outside_functions(value) if isinstance(part, ast.Call)] if value else []
        return any(_called_name(call) not in _HARMLESS_CALLS for call in calls)
    return type(node).__name__ != "TypeAlias"


def _called_name(node: ast.expr) -> str:
    """The last name of a called function, or of a decorator with or without arguments."""
    called = node.func if isinstance(node, ast.Call) else node
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


class _Stripper(ast.NodeTransformer):
    """Removes docstrings, annotations of functions, error messages and code for type checkers."""

    def __init__(self) -> None:
        self._in_function = False
        self._in_raise = False

    def strip(self, tree: ast.Module) -> ast.Module:
        """Return the stripped module."""
        stripped: ast.Module = self.visit(tree)
        return stripped

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Remove strings that stand alone: they are documentation."""
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Remove annotations, unless a decorator may read them."""
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        """Do the same for async functions."""
        return self._function(node)

    def _function(self, node: _Function) -> ast.AST:
        if all(_called_name(decorator) in _HARMLESS_DECORATORS for decorator in node.decorator_list):
            node.returns = None
            arguments = node.args
            for argument in (
                *arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg
            ):  # fmt: skip
                if argument is not None:
                    argument.annotation = None
        before, self._in_function = self._in_function, True
        stripped = self.generic_visit(node)
        self._in_function = before
        return stripped

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Keep the annotations of a class: they declare fields."""
        before, self._in_function = self._in_function, False
        stripped = self.generic_visit(node)
        self._in_function = before
        return stripped

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        """Remove annotations of local variables, which are never evaluated."""
        self.generic_visit(node)
        if not self._in_function:
            return node
        if node.value is None:
            return None
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_If(self, node: ast.If) -> Any:
        """Remove code that only type checkers read or only a script runs."""
        test = node.test
        name = _called_name(test)
        script = isinstance(test, ast.Compare) and getattr(test.left, "id", "") == "__name__"
        if name == "TYPE_CHECKING" or script:
            return [self.visit(part) for part in node.orelse]
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """Remove error messages. The type of an error stays, as code may catch it."""
        before, self._in_raise = self._in_raise, True
        stripped = self.generic_visit(node)
        self._in_raise = before
        return stripped

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """Empty the strings of an error message."""
        return ast.Constant("") if self._in_raise and isinstance(node.value, str) else node


def _form(node: object) -> object:
    """Syntax as JSON values, the same under every version of Python that can parse it."""
    if isinstance(node, ast.AST):
        # Empty fields are left out: later versions of Python add some.
        parts = {
            name: value
            for name, value in ast.iter_fields(node)
            if name not in _IGNORED_FIELDS and value not in (None, [])
        }
        if isinstance(node, ast.JoinedStr):
            parts = {"values": _f_string_parts(node)}
        spec = parts.get("format_spec")
        if isinstance(spec, ast.JoinedStr) and not spec.values:
            del parts["format_spec"]
        if isinstance(node, ast.Constant):
            return ["Constant", type(node.value).__name__, repr(node.value)]
        return [type(node).__name__, {name: _form(value) for name, value in parts.items()}]
    if isinstance(node, list):
        return [_form(part) for part in node]
    return repr(node)


def _f_string_parts(node: ast.JoinedStr) -> list[ast.expr]:
    """The parts of an f-string with adjacent texts joined: versions of Python split them differently."""
    parts: list[ast.expr] = []
    for part in node.values:
        last = parts[-1] if parts else None
        if isinstance(part, ast.Constant) and isinstance(last, ast.Constant):
            parts[-1] = ast.Constant(str(last.value) + str(part.value))
        elif not (isinstance(part, ast.Constant) and part.value == ""):
            parts.append(part)
    return parts
