"""A metric of ranks and one of lists, each from a package outside the repository, on the board of older results."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.protocol.recommendations import Recommendations
from harness.report.collect import collect
from harness.report.leaderboard import leaderboard
from tests.extending.package import install, lines_of
from tests.harness.report.test_leaderboard import run_all

RANK_METRIC = '''
import numpy as np
from harness.protocol.metrics import expected_gain
from harness.report.columns import Column

def rbp(ranks, k):
    """Rank-biased precision with p = 0.8. Moffat and Zobel, TOIS 2008."""
    return expected_gain(ranks, k, lambda n: 0.2 * 0.8 ** np.arange(n))

COLUMN = Column("RBP@7", "full", "rbp@7")
'''

LIST_METRIC = '''
from harness.report.columns import Column

def rare(recommendations, k):
    """Share of recommended items with at most three training interactions. Abdollahpouri et al., RecSys 2017."""
    items = recommendations.top(k)
    return (recommendations.popularity[items[items >= 0]] <= 3).mean()

COLUMN = Column("Rare@3", "full", "rare@3")
'''


def cell(text: str, heading: str, method: str, column: str) -> str:
    """A cell of the first table after a heading."""
    lines = [line for line in text.partition(f"# {heading}\n")[2].splitlines() if line.startswith("|")]
    index = [name.strip() for name in lines[0].split("|")].index(column)
    row = next(line for line in lines if re.sub(r"\W", "", line.split("|")[1]) == method)
    return row.split("|")[index].strip(" *")


def test_a_metric_of_ranks(toy, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines_of(RANK_METRIC) <= 15
    results = run_all(toy)
    with pytest.raises(HarnessError, match="Unknown metric 'rbp'"):
        collect(results, "toy", 1).entries[0].values("full", "rbp@7")
    entry_points = {"metrics": "rbp = outside_rbp:rbp", "columns": "rbp = outside_rbp:COLUMN"}
    install(monkeypatch, tmp_path / "site", "outside_rbp", RANK_METRIC, entry_points)
    board = collect(results, "toy", 1)
    text = leaderboard(board)
    for scenario, entries in board.scenarios.items():
        for entry in entries:
            gains = []
            for ranks in (table.ranks["full"] for table in entry.tables):
                for above, tied in zip(ranks.above.tolist(), ranks.tied.tolist(), strict=True):
                    possible = [above + 1 + i for i in range(tied + 1)]
                    gains.append(np.mean([0.2 * 0.8 ** (rank - 1) if rank <= 7 else 0.0 for rank in possible]))
            assert (
                cell(text, f"{scenario}: full catalogue, all users", entry.method, "RBP@7") == f"{np.mean(gains):.4f}"
            )


def test_a_metric_of_lists(toy, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines_of(LIST_METRIC) <= 15
    results = run_all(toy)
    entry_points = {"list_metrics": "rare = outside_rare:rare", "columns": "rare = outside_rare:COLUMN"}
    install(monkeypatch, tmp_path / "site", "outside_rare", LIST_METRIC, entry_points)
    board = collect(results, "toy", 1)
    text = leaderboard(board).partition("## What is recommended")[2]
    for scenario, entries in board.scenarios.items():
        for entry in entries:
            counts = entry.recommendations[0].popularity.tolist()
            lists = [row[:3] for seed in entry.recommendations for row in seed.items.tolist()]
            rare = [np.mean([counts[item] <= 3 for item in row]) for row in lists]
            heading = f"Recommended: {scenario}, full catalogue, all users"
            assert cell(text, heading, entry.method, "Rare@3") == f"{np.mean(rare):.4f}"


def test_the_example_in_the_docs_does_not_count_what_follows_a_short_list() -> None:
    page = Path("docs/extending.md").read_text(encoding="utf-8")
    example: dict[str, Any] = {}
    exec(page.partition("# my_metrics.py\n")[2].partition("```")[0], example)
    lists = Recommendations(np.array([[0, 1], [1, -1]]), np.array([1, 9, 2]), ("a", "b"))
    assert example["rare"](lists, 2) == pytest.approx(1 / 3)


def test_a_name_that_two_packages_offer_is_refused(toy, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry_points = {"metrics": "ndcg = outside_ndcg:rbp"}
    install(monkeypatch, tmp_path / "site", "outside_ndcg", RANK_METRIC, entry_points)
    with pytest.raises(HarnessError, match=r"'ndcg' in cdsr_harness\.metrics is offered by two installed"):
        collect(run_all(toy), "toy", 1).entries[0].values("full", "ndcg@10")


def test_a_broken_package_is_named(toy, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, tmp_path / "site", "outside_broken", "1 / 0", {"metrics": "bad = outside_broken:bad"})
    with pytest.raises(HarnessError, match=r"'bad' of outside_broken .*ZeroDivisionError"):
        collect(run_all(toy), "toy", 1).entries[0].values("full", "bad@10")
