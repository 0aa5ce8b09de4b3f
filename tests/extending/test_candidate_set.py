"""A candidate set from a package outside the repository, named in a suite file."""

import numpy as np
import pytest

from harness.evaluation.candidate_sets import make_candidate_set
from harness.report.collect import collect
from harness.report.leaderboard import leaderboard
from harness.run.scenario_data import candidate_digests, open_test, open_training
from harness.run.suite import run_suite
from harness.run.workspace import open_workspace
from harness.suites import load_suite
from tests.extending.package import install, lines_of
from tests.extending.test_metric import cell
from tests.plugin import Shop

CANDIDATE_SET = '''
"""Negatives drawn by popularity, as in Caser and BERT4Rec."""
from functools import partial
import numpy as np
from harness.evaluation.candidate_sets import DrawnCandidates

def popular(n):
    text = f"the held-out item and {n - 1} negatives outside the history, drawn by training popularity"
    return DrawnCandidates(f"popular-{n}", partial(draw, n), text)

def draw(n, test, target, seed):
    counts = np.bincount(target.train.items, minlength=len(target.catalogue))
    rows = []
    for user, held_out in enumerate(test.targets):
        weights = counts + 1.0
        weights[[held_out, *test.histories.sequences[user]]] = 0
        rng = np.random.default_rng([seed, user])
        negatives = rng.choice(len(weights), n - 1, replace=False, p=weights / weights.sum())
        rows.append(np.sort([held_out, *negatives]))
    return np.array(rows)
'''


def test_a_candidate_set(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines_of(CANDIDATE_SET) <= 40
    entry_points = {"candidate_sets": "popular-N = outside_popular:popular"}
    install(monkeypatch, tmp_path / "site", "outside_popular", CANDIDATE_SET, entry_points)
    shop = Shop(tmp_path / "shop", "popularity")
    file = shop.folder / "small.yaml"
    file.write_text(file.read_text().replace("candidates: [full]", "candidates: [full, popular-12]"))
    suite = load_suite(str(file))
    folders = {"cache_dir": tmp_path / "cache", "data_dir": shop.folder}
    run_suite(suite, output_dir=tmp_path, jobs=0, stop_on_error=True, **folders)
    workspace = open_workspace(suite, **folders)
    assert len(list((workspace.store.root / "candidates").iterdir())) == 2  # once for both seeds
    board = collect(tmp_path / "results", "small", 1)
    text = leaderboard(board)
    for scenario in suite.scenarios:
        test = open_test(workspace, scenario)
        target = open_training(workspace, scenario).target_domain
        counts = np.bincount(target.train.items, minlength=len(target.catalogue)).tolist()
        (drawn,) = {result.candidates["popular-12"].digest for result in board.scenarios[scenario.name][0].results}
        assert candidate_digests(workspace, scenario) == {"popular-12": drawn}
        gains = []
        candidates = make_candidate_set("popular-12").draw(test, target, suite.candidate_seed)
        for row, item in zip(candidates.tolist(), test.targets.tolist(), strict=True):
            assert len(set(row)) == 12
            above = sum(counts[other] > counts[item] for other in row)
            tied = sum(counts[other] == counts[item] for other in row)
            ranks = [above + 1 + i for i in range(tied)]
            gains.append(np.mean([1 / np.log2(rank + 1) if rank <= 10 else 0.0 for rank in ranks]))
        heading = f"{scenario.name}: NDCG@10, by candidate set, all users"
        assert cell(text, heading, "popularity", "popular-12") == f"{np.mean(gains):.4f}"
    described = "- popular-12: the held-out item and 11 negatives outside the history, drawn by training popularity."
    assert described in text.splitlines()
