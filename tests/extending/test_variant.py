"""A variant is added to a suite by one line, and is a row of its board beside the method it is made from."""

import json
import sys
from pathlib import Path

import pytest

from harness.cli.app import main
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


def test_a_variant_is_one_line_and_one_row(tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "suites" / "code").mkdir(parents=True)
    (tmp_path / "suites" / "code" / "my_method.py").write_text(MY_METHOD)
    monkeypatch.chdir(tmp_path)

    def run(text: str, *arguments: str) -> dict[str, object]:
        (tmp_path / "suites" / "mine.yaml").write_text(text)
        command = ["harness", "run", "--suite", "suites/mine.yaml", "--jobs", "0", "--json", *arguments]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        assert not stop.value.code, captured.err
        return json.loads(captured.out)

    run(SUITE)
    suite = SUITE.replace("  - markov\n", "  - markov\n" + VARIANT + FROM_FILE)
    assert run(suite, "--method", "markov-popular", "--dry-run")["runs"] == 1
    # The row that was there is not run again.
    missing = [f"action-from-comedy/{name}-seed0" for name in ("markov-popular", "chain-popular")]
    assert run(suite)["missing"] == missing
    folder = tmp_path / "leaderboards" / "results" / "mine" / "v1" / "action-from-comedy"
    results = {name: json.loads((folder / f"{name}-seed0.json").read_text()) for name in ("markov", "markov-popular")}
    assert {name: result["settings"] for name, result in results.items()} == {
        "markov": {"prior": 1.0},
        "markov-popular": {"prior": 1000.0},
    }
    board = (tmp_path / "leaderboards" / "mine-v1.md").read_text().replace("*", "")
    assert all(f"| {name} " in board for name in ("markov", "markov-popular", "chain-popular"))
