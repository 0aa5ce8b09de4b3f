"""A data source from a package outside the repository: installed by its entry point, used in a suite, prepared, run."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.extending.commands import harness
from tests.extending.package import lines_of

#: A log file of one JSON list a line: user, item, title, and seconds since 1970.
SOURCE = '''
"""Clicks in a log file."""

import json
from pathlib import Path

import pandas as pd

from harness.data.records import RawDomain, no_read_progress
from harness.data.sources import Source
from harness.errors import HarnessError


class ClickLog(Source):
    """A file with a JSON list of user, item, title and Unix seconds on each line."""

    source: str = "click-log"
    log: Path

    def files(self, folder):
        """The log file."""
        return (folder / self.log,)

    def open(self, name, folder, report=no_read_progress):
        """See `Source.open`."""
        (path,) = self.files(folder)
        try:
            clicks = [json.loads(line) for line in path.read_text().splitlines()]
        except ValueError as error:
            raise HarnessError(f"{path} is not a click log: {error}.", "Check the file.") from error
        table = pd.DataFrame(clicks, columns=["user_id", "item_id", "text", "timestamp"])
        return RawDomain.of(name, table.assign(timestamp=table["timestamp"] * 10**9), table.drop_duplicates("item_id"))
'''

SUITE = """
suite: mine
version: 1
title: mine
domains:
  - {name: left, source: SOURCE, data_dir: ., log: left.log, k_core: 1}
  - {name: right, source: SOURCE, data_dir: ., log: right.log, k_core: 1}
scenarios:
  - {target: left, sources: [right]}
candidates: [full]
methods: [popularity]
seeds: [0]
budget: {trials: 1, epochs: 1, patience: 1}
"""


def install(site: Path, distribution: str, code: str = SOURCE, entry: str = "click-log = clicks:ClickLog") -> None:
    """Install a package as pip would."""
    metadata = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (site / "clicks.py").write_text(code)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[cdsr_harness.sources]\n{entry}\n")


class Workspace:
    """A folder with a suite, its data, and a `site` folder of packages that commands find."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.site = folder, folder / "site"
        self.write_suite("click-log")
        for seed, name in enumerate(("left", "right")):
            clicks = [
                [f"u{u}", f"{name}{(u * 7 + e * (3 + seed)) % 9}", f"thing {(u * 7 + e * (3 + seed)) % 9}", 100 * u + e]
                for u in range(20)
                for e in range(5)
            ]
            (folder / f"{name}.log").write_text("".join(f"{json.dumps(click)}\n" for click in clicks))

    def write_suite(self, source: str) -> None:
        (self.folder / "mine.yaml").write_text(SUITE.replace("SOURCE", source))

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return harness(self.folder, *arguments, packages=self.site)

    def prepare(self) -> dict[str, dict]:
        """The prepared domains by name."""
        command = self.run("data", "prepare", "--suite", "mine.yaml", "--json")
        assert command.returncode == 0, command.stderr
        return {domain["name"]: domain for domain in json.loads(command.stdout)}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_a_source_takes_at_most_forty_lines() -> None:
    assert lines_of(SOURCE) <= 40


def test_a_suite_with_the_source_is_prepared_and_run(workspace: Workspace) -> None:
    install(workspace.site, "click-logs")
    prepared = workspace.prepare()
    assert (prepared["left"]["users"], prepared["left"]["items"], prepared["left"]["interactions"]) == (20, 9, 100)
    command = workspace.run("run", "--suite", "mine.yaml", "--device", "cpu", "--jobs", "1")
    assert command.returncode == 0, command.stderr
    assert "popularity" in (workspace.folder / "leaderboards" / "mine-v1.md").read_text()


def test_domains_are_prepared_again_when_the_code_of_the_source_changes(workspace: Workspace) -> None:
    install(workspace.site, "click-logs")
    assert all(domain["fresh"] for domain in workspace.prepare().values())
    assert not any(domain["fresh"] for domain in workspace.prepare().values())
    install(workspace.site, "click-logs", SOURCE.replace('"""The log file."""', '"""The file."""'))
    assert not any(domain["fresh"] for domain in workspace.prepare().values())
    install(workspace.site, "click-logs", SOURCE.replace('table["timestamp"] * 10**9', 'table["timestamp"] * 10**10'))
    assert all(domain["fresh"] for domain in workspace.prepare().values())


def test_errors_name_the_source(workspace: Workspace) -> None:
    def error() -> str:
        command = workspace.run("data", "prepare", "--suite", "mine.yaml")
        assert (command.returncode, command.stderr.count("\n")) == (2, 1), command.stderr
        return command.stderr

    install(workspace.site, "click-logs")
    workspace.write_suite("clicklog")
    assert "Unknown source 'clicklog'. Did you mean 'click-log'? Known: amazon-2014, " in error()
    workspace.write_suite("tabel")
    assert "Did you mean 'table'" in error()
    workspace.write_suite("click-log")
    (workspace.folder / "left.log").write_text("no JSON\n")
    assert "left.log is not a click log" in error()
    install(workspace.site, "click-logs", "import a_missing_package\n")
    assert (
        "'click-log' of click-logs (entry point clicks:ClickLog in cdsr_harness.sources) cannot be imported: No "
        "module named 'a_missing_package'" in error()
    )
    install(workspace.site, "click-logs", "ClickLog = 1 / 0\n")
    assert (
        "'click-log' of click-logs (entry point clicks:ClickLog in cdsr_harness.sources) cannot be loaded: Zero"
        in error()
    )
    install(workspace.site, "click-logs", "class ClickLog: pass\n")
    assert "not a subclass of harness.data.sources.Source" in error()
    install(workspace.site, "click-logs")
    install(workspace.site, "other-logs")
    assert "'click-log' in cdsr_harness.sources is offered by two installed distributions: " in error()
    install(workspace.site, "other-logs", entry="table = clicks:ClickLog")
    workspace.write_suite("table")
    assert "'table' in cdsr_harness.sources is offered by two installed distributions: " in error()
