"""Every command and snippet in README.md and docs/ runs; CONTRIBUTING.md describes how they are marked.

With WRITE_DOCS=1 the blocks of output are written anew.

A page's blocks are used in order, in a folder of its own that holds two small shops (`books`, `films`) and the
committed results of one scenario.
"""

import os
import re
import shlex
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest
import typer
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.testing import CliRunner

import harness
import weaverec
from harness.cli.app import app
from harness.data.sources import source_class, source_names
from harness.data.sources.table import Table
from harness.report.schemas import field_tables, file_kind
from harness.results.submission import Card
from harness.suites.file import BudgetFile, DomainFile, ScenarioFile, SuiteFile
from harness.suites.methods import MethodEntry

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
TREES = ("README.md", "docs/architecture.md")

#: Languages of blocks that are checked. Others are pictures, trees, formulas and output.
CHECKED = ("python", "sh", "toml", "yaml")
_BLOCK = re.compile(r"^```(?P<language>\w+)(?P<note>[^\n]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# (\S+\.(?:py|toml|yaml))\n")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: the page's path.
        line: of its first line of text.
        language: such as `python`.
        note: `slow`, `parse` or `output`; else empty.
        text: its lines.
    """

    page: str
    line: int
    language: str
    note: str
    text: str

    @property
    def file(self) -> str | None:
        """The name in its first line, if the block is a whole file."""
        match = _FILE.match(self.text)
        return match[1] if match else None

    @property
    def commands(self) -> list[str]:
        """The lines of a block of commands, without comments; a backslash continues a line."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [shlex.join(words) for line in lines if (words := shlex.split(line, comments=True))]


def blocks_of(page: str) -> list[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, match.start()) + 2, match["language"], match["note"].strip(), match["text"])
        for match in _BLOCK.finditer(text)
        if match["language"] in CHECKED or match["note"].strip() == "output"
    ]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data and trained artefacts, for all pages."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def folder(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page's working directory."""
    for seed, name in enumerate(("books", "films")):
        events, items = _shop(name, seed)
        events.to_csv(tmp_path / f"{name}.csv", index=False)
        items.to_csv(tmp_path / f"{name}-items.csv", index=False)
    scenario = Path("leaderboards", "results", "cdsr", "v2", "drama-from-action")
    shutil.copytree(ROOT / scenario, tmp_path / scenario)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(cache))
    for variable in ("CDSR_DATA", "HARNESS_OUTPUT"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def _shop(name: str, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Interactions and items of a small shop: 80 users with 8 to 14 events each, over two months, and 60 items."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(8, 15, 80)
    events = pd.DataFrame(
        {
            "user_id": [f"u{user}" for user in np.repeat(np.arange(80), lengths)],
            "item_id": [f"{name}{item}" for length in lengths for item in rng.permutation(60)[:length]],
            "timestamp": 1_700_000_000 + rng.permutation(1500)[: lengths.sum()] * 3600,
        }
    )
    items = pd.DataFrame(
        {"item_id": [f"{name}{i}" for i in range(60)], "title": [f"{name} number {i}" for i in range(60)]}
    )
    return events, items


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_page(page, folder, monkeypatch, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if any(block.note == "slow" for block in blocks_of(page))])
def test_the_slow_blocks_of_a_page_run(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_page(page, folder, monkeypatch, slow=True)


def run_page(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch, slow: bool) -> None:
    """Uses a page's blocks in order; slow ones are run or only parsed."""
    names: dict[str, Any] = {"__name__": "__main__"}
    blocks, printed = blocks_of(page), ""
    for block, following in zip_longest(blocks, blocks[1:]):
        place = f"{page}, line {block.line}"
        assert block.note in ("", "slow", "parse", "output"), place
        if block.note == "output":
            _check_output(block, printed, place)
            continue
        run = block.note == "" or (block.note == "slow" and slow)
        if block.file:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.text, encoding="utf-8")
            if block.file == "pyproject.toml":
                _install(folder / "site", block.text)
                monkeypatch.syspath_prepend(folder / "site")
        elif block.language == "python":
            code = compile("\n" * (block.line - 1) + block.text, str(ROOT / page), "exec")
            if run:
                exec(code, names)
        elif block.language == "sh":
            with monkeypatch.context() as patch:
                if following is not None and following.note == "output":  # of all committed results
                    patch.setenv("HARNESS_OUTPUT", str(ROOT / "leaderboards"))
                printed = "".join(_check_command(command, run, place) for command in block.commands)
        else:
            assert block.language == "yaml", f"{place}: the first line of a toml block names its file"
            yaml.safe_load(block.text)


def _install(site: Path, pyproject: str) -> None:
    """Makes the entry points of a pyproject.toml known, as pip does; its modules are in the page's folder."""
    project = tomllib.loads(pyproject)["project"]
    sections = [
        "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())])
        for group, entries in project["entry-points"].items()
    ]
    metadata = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    (metadata / "entry_points.txt").write_text("\n".join(sections))


def _check_output(block: Block, printed: str, place: str) -> None:
    """Compares a block with what the commands before it printed; with WRITE_DOCS=1, writes that into the page."""
    if os.environ.get("WRITE_DOCS"):
        page = ROOT / block.page
        page.write_text(page.read_text(encoding="utf-8").replace(f"{block.text}```", f"{printed}```"), encoding="utf-8")
        return
    assert block.text == printed, f"{place}: not what the commands before it print; to write it: WRITE_DOCS=1 pytest"


def _check_command(command: str, run: bool, place: str) -> str:
    """Runs or parses a command; returns what it prints."""
    program, *arguments = shlex.split(command)
    if program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert all(f"\n{target}:" in makefile for target in arguments), f"{place}: {command}"
    elif program == "accelerate":
        _parse(arguments[arguments.index("harness.cli") + 1 :], place)
    elif program == "harness" and run:
        result = CliRunner().invoke(app, [*arguments, *(["--jobs", "0"] if arguments[0] == "run" else [])])
        assert result.exit_code == 0, f"{place}: {command}\n{result.output}\n{result.exception!r}"
        return result.stdout
    elif program == "harness":
        _parse(arguments, place)
    elif program == "pytest":
        assert all((ROOT / argument).exists() for argument in arguments if argument.startswith("tests")), place
    else:
        assert program in ("pip", "hf", "cd", "git"), f"{place}: {command}"
    return ""


def _parse(arguments: list[str], place: str) -> None:
    """Checks a command's name, options and types, and does not run it."""
    command: click.Command = typer.main.get_command(app)
    context = None
    while True:
        try:
            context = command.make_context(command.name or "harness", list(arguments), parent=context)
        except click.ClickException as error:
            pytest.fail(f"{place}: harness {shlex.join(arguments)}: {error.format_message()}")
        if not isinstance(command, click.Group):
            return
        _, next_command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
        assert next_command is not None
        command = next_command


# What tables say is what the code has.


def tables(page: str) -> dict[str, dict[str, list[str]]]:
    """Heading -> first cell, without backticks -> the other cells, of the tables of a page."""
    sections = re.split(r"^#+ (.+)$", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
    rows: dict[str, dict[str, list[str]]] = {}
    for heading, text in zip(sections[1::2], sections[2::2], strict=True):
        for line in [line for line in text.splitlines() if line.startswith("| `")]:
            first, *others = [cell.strip() for cell in line.replace(r"\|", "¦").strip("|").split("|")]
            rows.setdefault(heading, {})[first.strip("`")] = others
    return rows


MODELS = {
    "Suite": SuiteFile,
    "Domains": DomainFile,
    "Scenarios": ScenarioFile,
    "Methods": MethodEntry,
    "Budget": BudgetFile,
    "Source `table`": Table,
}


@pytest.mark.parametrize("heading", MODELS)
def test_the_keys_of_suite_files_are_described(heading: str) -> None:
    model, described = MODELS[heading], tables("docs/suite-file.md")[heading]
    assert described.keys() == model.model_fields.keys()
    schema = model.model_json_schema()
    for key, (type_, default, _) in described.items():
        field = model.model_fields[key]
        assert default == _default(field), key
        assert type_ == _type(schema["properties"][key]), key


def _default(field: FieldInfo) -> str:
    """A default as YAML; `required`, or `none` for None."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "none"
    values = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    text = yaml.safe_dump(values, default_flow_style=True, sort_keys=False, width=1000).split("\n...")[0].strip()
    return f"`{text}`" if text != "''" else '`""`'


def _type(schema: Mapping[str, Any]) -> str:
    """A JSON schema in words: `integer ≥ 1`, `list of text`."""
    if "anyOf" in schema:
        return ", or ".join(_type(other) for other in schema["anyOf"] if other != {"type": "null"})
    if "const" in schema or "enum" in schema:
        *first, last = [f"`{value}`" for value in schema.get("enum", [schema.get("const")])]
        return f"{', '.join(first)} or {last}" if first else last
    if schema.get("type") == "array":
        return "list" if "$ref" in str(schema["items"]) else f"list of {_type(schema['items'])}"
    if schema.get("type") == "integer":
        return f"integer ≥ {schema['minimum']}"
    if schema.get("type") == "string":
        kinds = {"path": "path", None: "text"}
        patterns = {"[0-9a-f]{64}": "SHA-256", "A-Za-z": "name"}
        named = [kind for pattern, kind in patterns.items() if pattern in schema.get("pattern", "")]
        return named[0] if named else kinds[schema.get("format")]
    return {"number": "number", "boolean": "true or false"}.get(schema.get("type", ""), "mapping")


def test_the_options_of_sources_are_described() -> None:
    described = tables("docs/suite-file.md")["Other sources"]
    assert {*described, "table"} == set(source_names())
    for name, (options,) in described.items():
        fields = source_class(name).model_fields.keys() - {"source", "users"}
        assert set(re.findall(r"`([^`]+)`", options)) == fields, name


def test_the_fields_of_results_are_described() -> None:
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert text.endswith(f"\n{field_tables(file_kind('result'))}"), "write the end anew: harness schema result --fields"


def test_the_keys_of_cards_are_described() -> None:
    assert tables("docs/submitting.md")["Keys of a card"].keys() == Card.model_fields.keys()


@pytest.mark.parametrize("page", TREES)
def test_the_folders_of_a_tree_exist(page: str) -> None:
    """In a tree, two spaces lead one folder down."""
    (tree,) = re.findall(
        r"^```\n(harness/.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    parents: list[str] = []
    for line in tree.splitlines():
        name = line.split()[0]
        parents = [*parents[: (len(line) - len(line.lstrip())) // 2], name]
        assert (ROOT / "".join(parents)).exists(), "".join(parents)
    if page == "README.md":
        rooms = {f"{path.name}/" for path in (ROOT / "harness").iterdir() if (path / "__init__.py").exists()}
        assert rooms <= set(re.findall(r"^  (\w+/)", tree, re.MULTILINE))


def test_public_names_are_described() -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    for package in (harness, weaverec):
        assert [name for name in package.__all__ if not re.search(rf"\b{name}\b", text)] == []


def test_the_order_of_folders_is_that_of_imports() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = [contract["layers"] for contract in contracts if "harness.cli" in contract.get("layers", [])]
    expected = [name for layer in reversed(layers) for name in reversed(layer.replace("harness.", "").split(" | "))]
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert re.findall(r"^  (\w+)[/.]", text.partition("weaverec/\n")[0], re.MULTILINE) == expected
