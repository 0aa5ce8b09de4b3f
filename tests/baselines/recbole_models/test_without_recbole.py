"""Without RecBole, its methods are reported as not installed and all others run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.data.sources.movielens import INSTALL_RECBOLE

SUITE = """
suite: mine
version: 1
title: mine
domains:
  - {name: left, source: table, data_dir: ., interactions: left.csv, items: items.csv, k_core: 1}
  - {name: right, source: table, data_dir: ., interactions: right.csv, items: items.csv, k_core: 1}
scenarios:
  - {target: left, sources: [right]}
candidates: [full]
methods: [popularity, sasrec, recbole.NARM]
seeds: [0]
budget: {trials: 1, epochs: 1, patience: 1}
"""


@pytest.fixture
def harness(tmp_path: Path):
    """Run a command in a folder with the suite and its data, with one package hidden from all processes."""
    rows = [f"u{u},i{(u + e) % 7},{100 * u + e}" for u in range(20) for e in range(5)]
    for name in ("left", "right"):
        (tmp_path / f"{name}.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    (tmp_path / "items.csv").write_text("\n".join(["item_id,title", *(f"i{i},item {i}" for i in range(7))]) + "\n")
    (tmp_path / "mine.yaml").write_text(SUITE)

    def run(*arguments: str, lacks: str = "recbole") -> "subprocess.CompletedProcess[str]":
        (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules[{lacks!r}] = None\n")
        path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
        return subprocess.run(
            [sys.executable, "-m", "harness.cli", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


def test_ls_names_missing_packages(harness) -> None:
    listed = json.loads(harness("ls", "--json").stdout)
    assert {"popularity", "weaverec"} <= set(listed["methods"])
    assert listed["families"] == ["ranker.<name>"]
    assert {"sasrec", "fdsa", "recbole.<name>"} <= set(listed["not_installed"])
    assert not set(listed["methods"]) & set(listed["not_installed"])
    lines = harness("ls").stdout.splitlines()
    (line,) = [line for line in lines if line.startswith("not installed: ")]
    assert line.endswith(f"Run '{INSTALL_RECBOLE}'.")


@pytest.mark.parametrize("lacks", ["recbole", "texttable"])
def test_the_plan_names_skipped_methods(harness, lacks: str) -> None:
    planned = harness("run", "--suite", "mine.yaml", "--dry-run", lacks=lacks)
    assert (planned.returncode, planned.stderr) == (0, "")
    (line,) = [line for line in planned.stdout.splitlines() if "skipped: " in line]
    assert "sasrec on left-from-right, recbole.NARM on left-from-right: " in line
    assert f"not installed: {lacks}. " in line
    assert line.endswith(f"Run '{INSTALL_RECBOLE}'.")


def test_other_methods_run(harness) -> None:
    command = harness("run", "--suite", "mine.yaml", "--json")
    assert command.returncode == 0, command.stderr
    assert json.loads(command.stdout)["missing"] == ["left-from-right/popularity-seed0"]
    skipped = {"left-from-right/sasrec-seed0", "left-from-right/recbole.NARM-seed0"}
    assert set(json.loads(command.stdout)["skipped"]) == skipped
    assert harness("leaderboard", "--check").returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--suite", "mine.yaml", "--method", "sasrec"),
        ("plan", "--suite", "mine.yaml", "--method", "recbole.GRU4Rec"),
        ("run", "--suite", "cdsr-smoke", "--method", "popularity", "--dry-run"),  # its data are part of RecBole's wheel
    ],
)
def test_errors_are_one_line_with_the_install_command(harness, arguments) -> None:
    command = harness(*arguments)
    assert command.returncode == 2
    assert command.stderr.count("\n") == 1
    assert f"Run '{INSTALL_RECBOLE}'." in command.stderr
