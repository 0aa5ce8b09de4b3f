"""Writes a new package with a method, a merging rule or a metric: `harness new method my-method`."""

import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from string import Template

from harness.errors import HarnessError
from harness.methods.registry import is_installed
from harness.storage.files import folder_atomically

_TEMPLATES = Path(__file__).parent / "templates"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Kind:
    """What a package can offer.

    Attributes:
        what: in words.
        groups: groups of entry points, and what each points to; `$attribute` stands for the class or function.
        example: a command that uses it; `$name` stands for its name.
        is_class: whether it is a class; else a function.
    """

    what: str
    groups: Mapping[str, str]
    example: str
    is_class: bool = True


KINDS = {
    "method": Kind("method", {"cdsr_harness.methods": "$attribute"}, "harness run --suite cdsr-smoke --method $name"),
    "rule": Kind(
        "merging rule",
        {"cdsr_harness.merge_rules": "$attribute"},
        "harness run --suite cdsr-smoke --method weaverec.$name",
    ),
    "metric": Kind(
        "metric",
        {"cdsr_harness.metrics": "$attribute", "cdsr_harness.columns": "COLUMN"},
        "harness leaderboard",
        is_class=False,
    ),
}


def write_package(kind: str, name: str, parent: Path) -> Path:
    """Write a package: its module, a test, pyproject.toml with the entry point, and a README.

    Args:
        kind: one of `KINDS`.
        name: such as `my-method`: of the package, its folder and its entry point; the module is `my_method`.
        parent: the folder that the package's folder is made in.

    Returns:
        The package's folder.

    Raises:
        HarnessError: the name cannot be used or is taken, or the folder exists.
    """
    module = name.replace("-", "_")
    if not _NAME.fullmatch(name) or keyword.iskeyword(module):
        raise HarnessError(f"{name!r} is no name of a package.", "Use small letters, digits and hyphens: my-method.")
    folder = parent / name
    if folder.exists():
        raise HarnessError(f"{folder} exists.", "Choose another name, or remove it.")
    if kind == "method" and is_installed(name):
        raise HarnessError(f"{name!r} is the name of an installed method.", "Choose another name.")
    if find_spec(module) is not None:
        raise HarnessError(f"{module!r} is the name of a module that is installed.", "Choose another name.")
    chosen = KINDS[kind]
    attribute = "".join(map(str.capitalize, name.split("-"))) if chosen.is_class else module
    entry_points = [
        f'[project.entry-points."{group}"]\n{name} = "{module}:{Template(target).substitute(attribute=attribute)}"'
        for group, target in chosen.groups.items()
    ]
    values = {
        "name": name,
        "module": module,
        "attribute": attribute,
        "what": chosen.what,
        "entry_points": "\n\n".join(entry_points),
        "example": Template(chosen.example).substitute(name=name),
    }
    files = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        f"{module}.py": f"{kind}.py",
        f"test_{module}.py": f"test_{kind}.py",
    }
    with folder_atomically(folder) as temporary:
        for path, template in files.items():
            text = (_TEMPLATES / f"{template}.txt").read_text(encoding="utf-8")
            (temporary / path).write_text(Template(text).substitute(values), encoding="utf-8")
    return folder
