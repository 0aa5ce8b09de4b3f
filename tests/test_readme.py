"""What the README says is so: its table is the leaderboard's, its method runs."""

import re
from pathlib import Path

import pytest

from harness.report.collect import collect
from tests.harness.report.test_leaderboard import run_all

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_is_the_overview_of_the_leaderboard() -> None:
    shown = README.partition("<!-- leaderboard: cdsr -->")[2].partition("<!-- end -->")[0].strip()
    board = (ROOT / "leaderboards" / "cdsr-v1.md").read_text(encoding="utf-8")
    overview = board.partition("## Overview")[2].partition("\n\n")[2].partition("\n\n")[0].strip()
    assert shown
    assert shown == overview


def test_the_example_method_is_short_and_runs(toy) -> None:
    code = re.search(r"```python\n(# my_method\.py\n.*?)```", README, re.DOTALL)[1]
    assert len(code.splitlines()) <= 30
    module: dict[str, type] = {}
    exec(code, module)
    toy.add("markov", module["Markov"])
    results = collect(run_all(toy, methods=("markov", "popularity")), "toy", 1).results
    assert {result.method for result in results} == {"markov", "popularity"}


@pytest.mark.parametrize("command", ["make run", "make test"])
def test_the_two_commands_are_in_the_makefile(command: str) -> None:
    assert command in README
    assert f"\n{command.removeprefix('make ')}: install\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
