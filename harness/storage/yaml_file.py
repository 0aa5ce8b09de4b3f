"""YAML files of people's: what JSON could say, of bounded size, each fault told with its line."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from harness.errors import HarnessError

_MOST_BYTES = 2**20
#: With each alias counted as all that it stands for.
_MOST_NODES = 100_000
_DEEPEST = 40
#: Characters of a number.
_LONGEST_NUMBER = 100

_PLAIN = {f"tag:yaml.org,2002:{kind}": kind for kind in ("null", "bool", "int", "float", "str", "seq", "map", "merge")}
_HINTS = {
    "tag:yaml.org,2002:timestamp": "is read as a date: put it in quotes",
    "tag:yaml.org,2002:set": "is a set: write a list",
}


def read_yaml(path: Path) -> Any:
    """Reads a file into mappings, lists, texts, numbers, booleans and None.

    Raises:
        OSError: the file cannot be read.
        HarnessError: it is no valid YAML, too large, or holds something else; the message names file and line.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise HarnessError(f"{path}: larger than {_MOST_BYTES:,} bytes.", "Fix the file.")
    try:
        return yaml.load(path.read_bytes(), _Loader)  # noqa: S506 - a safe loader, and more
    except _RefusedError as error:
        raise HarnessError(f"{path}: {_line(error)}{error.problem}.", "Fix the file.") from error
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise HarnessError(f"{path}: {_line(error)}is no valid YAML: {problem}.", "Fix the file.") from error


def _line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}: " if mark else ""


class _RefusedError(yaml.MarkedYAMLError):
    """Valid YAML that is not taken."""

    def __init__(self, node: yaml.Node | yaml.Event, problem: str) -> None:
        mark: Any = node.start_mark
        super().__init__(problem=problem, problem_mark=mark)


class _Loader(yaml.SafeLoader):
    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self._depth = 0
        self._sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Composes a node and what is in it; or looks up what an alias stands for."""
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        alias = isinstance(event, yaml.AliasEvent)
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _RefusedError(event, f"nested deeper than {_DEEPEST} levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None or (alias and node in self._sizes):
            return node
        if alias:
            raise _RefusedError(node, "an alias stands within what it stands for")
        self._sizes[node] = _size(node, self._sizes)
        _check(node)
        if self._sizes[node] > _MOST_NODES:
            raise _RefusedError(node, f"more than {_MOST_NODES:,} entries, aliases counted as what they stand for")
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """A node's value. PyYAML raises various errors where a tag was given that its text does not fit."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
            raise _RefusedError(node, f"{_shown(node)} is no {_PLAIN.get(node.tag, node.tag)}") from error


def _size(node: yaml.Node, sizes: dict[yaml.Node, int]) -> int:
    if isinstance(node, yaml.MappingNode):
        return 1 + sum(sizes[key] + sizes[value] for key, value in node.value)
    if isinstance(node, yaml.SequenceNode):
        return 1 + sum(sizes[value] for value in node.value)
    return 1


def _check(node: yaml.Node) -> None:
    if node.tag not in _PLAIN:
        raise _RefusedError(node, f"{_shown(node)} {_HINTS.get(node.tag, f'is of the kind {node.tag}')}")
    if isinstance(node, yaml.ScalarNode):
        kind = _PLAIN[node.tag]
        if kind in ("int", "float") and len(node.value) > _LONGEST_NUMBER:
            raise _RefusedError(node, f"a number of {len(node.value):,} characters")
        if kind == "float" and node.value.lower().lstrip("+-") in (".nan", ".inf"):
            raise _RefusedError(node, f"{node.value} is no finite number")
    if isinstance(node, yaml.MappingNode):
        seen: set[Hashable] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise _RefusedError(key, f"{_shown(key)} is there twice")
                seen.add((key.tag, key.value))


def _shown(node: yaml.Node) -> str:
    return repr(node.value[:60]) if isinstance(node, yaml.ScalarNode) else "this"
