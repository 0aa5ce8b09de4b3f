"""A board's column and a slice from a package outside the repository."""

import numpy as np
import pytest

from harness.data.prepare import prepare
from harness.report.collect import collect
from harness.report.leaderboard import leaderboard
from harness.results.files import read_result
from tests.conftest import toy_raw
from tests.extending.package import install, lines_of
from tests.extending.test_metric import cell
from tests.harness.report.test_leaderboard import run_all

SLICE = """
def short(test, training):
    return test.histories.sequences.lengths <= 6
"""

COLUMN = """
from harness.report.columns import Column
COLUMN = Column("MRR@5, short histories", "full", "mrr@5", "short")
"""


def test_a_column_of_a_new_slice(toy, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines_of(SLICE) <= 5
    assert lines_of(COLUMN) <= 5
    run_all(toy, methods=("popularity",))
    entry_points = {"slices": "short = outside_column:short", "columns": "short = outside_column:COLUMN"}
    install(monkeypatch, tmp_path / "site", "outside_column", COLUMN + SLICE, entry_points)
    board = collect(run_all(toy, methods=("fixed",)), "toy", 1)
    text = leaderboard(board)
    domain = prepare(toy_raw("left", 1), 1)
    lengths = dict(zip(domain.user_ids, domain.interactions.lengths - 1, strict=True))
    reciprocal = []
    for entry in board.scenarios["left-from-right"]:
        for result in entry.results if entry.method == "fixed" else ():
            _, table = read_result(toy.out / "results" / result.path)
            ranks = dict(zip(table.users.user_ids, table.ranks["full"].above + 1, strict=True))
            reciprocal += [1 / rank if rank <= 5 else 0.0 for user, rank in ranks.items() if lengths[user] <= 6]
    assert 0 < len(reciprocal) < 60
    where = ("left-from-right: MRR@5, full catalogue, by slice", "MRR@5, short histories")
    assert cell(text, where[0], "fixed", where[1]) == f"{np.mean(reciprocal):.4f}"
    assert cell(text, where[0], "popularity", where[1]) == "–"
    # Scored again, the older runs have the slice too.
    text = leaderboard(collect(run_all(toy), "toy", 1))
    assert cell(text, where[0], "popularity", where[1]) != "–"
