"""A board of results of toy methods."""

import pytest

from harness.report.collect import Board, collect
from tests.harness.report.test_leaderboard import Fixed


class Source(Fixed):
    """A method that is compared with `base`."""

    reference = "base"


@pytest.fixture
def board(toy) -> Board:
    """Three seeds of four methods."""
    for name in ("base", "better", "one", "two"):
        toy.add(name, Source)
    toy.run("base", "better", "one", "two", seeds=(0, 1, 2))
    return collect(toy.out / "results", "toy", 1)
