"""The package's public names, used as a notebook would."""

import re
import subprocess
import sys
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

import harness
from baselines.popularity import Popularity
from harness.methods.api import DotProduct
from harness.report.collect import collect


def test_a_suite_is_run_and_its_results_read_in_three_lines(toy) -> None:
    done = toy.run("popularity")
    frame = harness.read_results(toy.out, "toy")
    text = harness.leaderboard("toy", toy.out)
    assert done.board_path.read_text() == text
    for (scenario, seed), rows in frame.groupby(["scenario", "seed"]):
        value = rows.query("candidates == 'full' and slice == 'all' and metric == 'ndcg@10'")["value"].item()
        entry = collect(toy.out / "results", "toy", 1).scenarios[scenario][0]
        assert value == pytest.approx(entry.values("full", "ndcg@10")[seed].mean())
    assert set(frame["scenario"]) == {"left-from-right", "right-from-left"}


def test_a_scorer_is_evaluated_as_a_run_would(toy) -> None:
    done = toy.run("popularity", seeds=(0,))
    folders = {"data_dir": toy.cache, "cache_dir": toy.cache}
    evaluation = harness.evaluate(lambda data: Popularity().fit(data, None), "left-from-right", toy.suite, **folders)
    (entry,) = done.board.scenarios["left-from-right"]
    for name, record in entry.results[0].candidates.items():
        if record.metrics is None:
            assert evaluation.absent[name] == record.absent
        else:
            assert evaluation.metrics[name] == record.metrics
    data = harness.training_data("left-from-right", toy.suite, **folders)
    items = np.ones((len(data.target_domain.catalogue), 1), dtype=np.float32)
    scorer = DotProduct(items, lambda histories: np.ones((len(histories), 1), dtype=np.float32))
    constant = harness.evaluate(scorer, "left-from-right", toy.suite, **folders)
    ranks = constant.table.ranks["full"]
    assert constant.metrics["full"]["all"]["hr@10"] == pytest.approx(np.mean(10 / ranks.candidates))


def test_every_argument_of_run_suite_is_in_the_docs() -> None:
    text = Path("docs/python.md").read_text(encoding="utf-8").partition("It takes ")[2].partition("returns")[0]
    assert re.findall(r"`(\w+)`", text) == list(signature(harness.run_suite).parameters)[1:]


def test_public_names_are_listed_and_lazy() -> None:
    assert set(harness.__all__) <= set(dir(harness))
    assert all(getattr(harness, name).__doc__ for name in harness.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        harness.nothing  # noqa: B018
    heavy = "import sys, harness; print({'torch', 'pandas', 'rich', 'typer'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True).stdout == "set()\n"
