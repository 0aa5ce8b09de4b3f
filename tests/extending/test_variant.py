"""A variant is added to a suite by one line, and is a row of its board beside the method it is made from."""

import json
from pathlib import Path

from tests.extending.commands import ROOT, harness
from tests.extending.test_method import MY_METHOD

SUITE = """
suite: mine
version: 1
title: mine
domains:
  - {name: action, dataset: movielens-100k-action, k_core: 30}
  - {name: comedy, dataset: movielens-100k-comedy, k_core: 30}
scenarios:
  - {target: action, sources: [comedy]}
methods:
  - markov
seeds: [0]
budget: {trials: 1, epochs: 1, patience: 1}
"""
VARIANT = "  - {name: markov-popular, method: markov, settings: {prior: 1000}}\n"
FROM_FILE = "  - {name: chain-popular, method: ./code/my_method.py:Chain, settings: {popularity: 100}}\n"


def test_a_variant_is_one_line_and_one_row(tmp_path: Path) -> None:
    assert ROOT not in tmp_path.parents
    suite = tmp_path / "suites" / "mine.yaml"
    (suite.parent / "code").mkdir(parents=True)
    (suite.parent / "code" / "my_method.py").write_text(MY_METHOD)
    suite.write_text(SUITE)
    command = ("run", "--suite", "suites/mine.yaml", "--jobs", "1", "--json")
    assert harness(tmp_path, *command).returncode == 0
    suite.write_text(SUITE.replace("  - markov\n", "  - markov\n" + VARIANT + FROM_FILE))
    run = harness(tmp_path, *command)
    assert run.returncode == 0, run.stderr
    # The row that was there is not run again.
    missing = [f"action-from-comedy/{name}-seed0" for name in ("markov-popular", "chain-popular")]
    assert json.loads(run.stdout)["missing"] == missing
    selected = harness(tmp_path, *command, "--method", "markov-popular", "--dry-run")
    assert json.loads(selected.stdout)["runs"] == 1
    folder = tmp_path / "leaderboards" / "results" / "mine" / "v1" / "action-from-comedy"
    results = {name: json.loads((folder / f"{name}-seed0.json").read_text()) for name in ("markov", "markov-popular")}
    assert {name: result["settings"] for name, result in results.items()} == {
        "markov": {"prior": 1.0},
        "markov-popular": {"prior": 1000.0},
    }
    board = (tmp_path / "leaderboards" / "mine-v1.md").read_text().replace("*", "")
    assert all(f"| {name} " in board for name in ("markov", "markov-popular", "chain-popular"))
