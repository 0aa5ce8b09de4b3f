"""Collect all statements that some functions and classes depend on."""

import builtins
from collections.abc import Iterable, Iterator

from harness.storage.code_modules import find_module, is_first_party
from harness.storage.code_parse import ImportTarget, Module, Statement, parse_module
from harness.storage.files import canonical_json


class CodeClosure:
    """All statements that some roots depend on.

    Args:
        roots: names, written `module:name` or `module`.
    """

    def __init__(self, roots: Iterable[str]) -> None:
        self._reached: dict[tuple[str, int], tuple[Module, Statement, set[str]]] = {}
        self._executed: set[str] = set()
        self._resolved: set[tuple[str, tuple[str, ...]]] = set()
        self._pending: list[tuple[Module, Statement]] = []
        for root in roots:
            module, _, name = root.partition(":")
            self._resolve(module, (name,) if name else ())
        while self._pending:
            self._follow(*self._pending.pop())

    def statements(self) -> Iterator[tuple[Module, Statement]]:
        """The reached statements with their modules, in no order."""
        yield from ((module, statement) for module, statement, _ in self._reached.values())

    def forms(self) -> Iterator[str]:
        """A line of JSON for each statement: its module, its syntax, and the origins of imported names in it."""
        for module, statement, targets in self._reached.values():
            # The order of statements with effects matters, that of definitions does not.
            position = module.statements.index(statement) if statement.effect else -1
            effects = sum(s.effect for s in module.statements[:position]) if position >= 0 else -1
            yield canonical_json([module.name, effects, statement.form, sorted(targets)])

    def _include(self, module: Module, statement: Statement) -> None:
        key = (module.name, id(statement))
        if key not in self._reached:
            self._reached[key] = (module, statement, set())
            self._pending.append((module, statement))

    def _resolve(self, name: str, attributes: tuple[str, ...]) -> None:
        """Include the definition of a module's attribute, or the whole module if there is no attribute."""
        if not is_first_party(name) or (name, attributes) in self._resolved:
            return
        self._resolved.add((name, attributes))
        self._execute(name)
        module = parse_module(name)
        if not attributes:
            for statement in module.statements:
                self._include(module, statement)
            for target in module.imports.values():
                self._resolve_import(target, ())
            return
        head, *rest = attributes
        defining = module.defining(head)
        for statement in defining:
            self._include(module, statement)
        if head in module.imports:
            self._resolve_import(module.imports[head], tuple(rest))
        elif not defining:
            if find_module(f"{name}.{head}") is not None:
                self._resolve(f"{name}.{head}", tuple(rest))
            elif module.stars:
                for star in module.stars:
                    self._resolve(star, attributes)
            else:
                self._resolve(name, ())

    def _resolve_import(self, target: ImportTarget, rest: tuple[str, ...]) -> None:
        module, attribute = target
        self._resolve(module, rest if attribute is None else (attribute, *rest))

    def _execute(self, name: str) -> None:
        """Include what importing a module executes. Its parent packages are imported before it."""
        if name in self._executed or not is_first_party(name):
            return
        self._executed.add(name)
        if "." in name:
            self._execute(name.rpartition(".")[0])
        module = parse_module(name)
        for statement in module.statements:
            if statement.effect:
                self._include(module, statement)
        for other in module.executed:
            self._execute(other)

    def _follow(self, module: Module, statement: Statement) -> None:
        _, _, targets = self._reached[module.name, id(statement)]
        inner = dict(statement.imports)
        for target in inner.values():
            self._execute(target[0])
        for head, *rest in statement.uses:
            imported: ImportTarget | None = inner.get(head, module.imports.get(head))
            if imported is not None:
                targets.add(f"{head}={imported[0]}:{imported[1] or ''}")
                self._resolve_import(imported, tuple(rest))
            elif module.defining(head):
                self._resolve(module.name, (head,))
            elif module.stars and not hasattr(builtins, head):
                for star in module.stars:
                    if is_first_party(star):
                        self._resolve(star, (head, *rest))
            if head in ("globals", "vars", "eval", "exec") and imported is None:
                self._resolve(module.name, ())
