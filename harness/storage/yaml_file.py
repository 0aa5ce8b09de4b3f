"""Read YAML files written by users: only what JSON can express, of bounded size, with line numbers in errors."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from harness.errors import HarnessError

_MAX_BYTES = 2**20
#: Nodes, with each alias counted as the nodes it stands for.
_MAX_NODES = 100_000
_MAX_DEPTH = 40
_MAX_NUMBER_LENGTH = 100  # in characters

_KINDS = {f"tag:yaml.org,2002:{kind}": kind for kind in ("null", "bool", "int", "float", "str", "seq", "map", "merge")}
_HINTS = {
    "tag:yaml.org,2002:timestamp": "is read as a date: put it in quotes",
    "tag:yaml.org,2002:set": "is a set: write a list",
}


def read_yaml(path: Path) -> Any:
    """Read a file into mappings, lists, strings, numbers, booleans and None.

    Raises:
        OSError: the file cannot be read.
        HarnessError: the file is not valid YAML, too large, or holds other types; the message names file and line.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise HarnessError(f"{path}: larger than {_MAX_BYTES:,} bytes.", "Fix the file.")
    try:
        return yaml.load(path.read_bytes(), _Loader)  # noqa: S506 - a safe loader, and more
    except _RefusedError as error:
        raise HarnessError(f"{path}: {_line(error)}{error.problem}.", "Fix the file.") from error
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise HarnessError(f"{path}: {_line(error)}not valid YAML: {problem}.", "Fix the file.") from error


def _line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}: " if mark else ""


class _RefusedError(yaml.MarkedYAMLError):
    """Valid YAML that is not accepted."""

    def __init__(self, node: yaml.Node | yaml.Event, problem: str) -> None:
        mark: Any = node.start_mark
        super().__init__(problem=problem, problem_mark=mark)


class _Loader(yaml.SafeLoader):
    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self._depth = 0
        self._sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node and its children, or look up the node that an alias stands for."""
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        alias = isinstance(event, yaml.AliasEvent)
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _RefusedError(event, f"nested deeper than {_MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None or (alias and node in self._sizes):
            return node
        if alias:
            raise _RefusedError(node, "an alias is inside the node it stands for")
        self._sizes[node] = _size(node, self._sizes)
        _check(node)
        if self._sizes[node] > _MAX_NODES:
            raise _RefusedError(node, f"more than {_MAX_NODES:,} entries, with aliases expanded")
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Construct a node's value. PyYAML raises various errors for a text that does not fit its tag."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
            raise _RefusedError(node, f"{_shown(node)} is not a valid {_KINDS.get(node.tag, node.tag)}") from error


def _size(node: yaml.Node, sizes: dict[yaml.Node, int]) -> int:
    if isinstance(node, yaml.MappingNode):
        return 1 + sum(sizes[key] + sizes[value] for key, value in node.value)
    if isinstance(node, yaml.SequenceNode):
        return 1 + sum(sizes[value] for value in node.value)
    return 1


def _check(node: yaml.Node) -> None:
    if node.tag not in _KINDS:
        raise _RefusedError(node, f"{_shown(node)} {_HINTS.get(node.tag, f'is of the kind {node.tag}')}")
    if isinstance(node, yaml.ScalarNode):
        kind = _KINDS[node.tag]
        if kind in ("int", "float") and len(node.value) > _MAX_NUMBER_LENGTH:
            raise _RefusedError(node, f"a number of {len(node.value):,} characters")
        if kind == "float" and node.value.lower().lstrip("+-") in (".nan", ".inf"):
            raise _RefusedError(node, f"{node.value} is not a finite number")
    if isinstance(node, yaml.MappingNode):
        seen: set[Hashable] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise _RefusedError(key, f"{_shown(key)} is given twice")
                seen.add((key.tag, key.value))


def _shown(node: yaml.Node) -> str:
    return repr(node.value[:60]) if isinstance(node, yaml.ScalarNode) else "this"
