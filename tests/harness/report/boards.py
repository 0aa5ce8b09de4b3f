"""A board of made results, for tests of what boards print."""

from pathlib import Path
from typing import Any

import numpy as np

from harness.report.collect import Board, collect
from tests.harness.report.made_results import write_made

#: Scenarios of the board: target and source.
SCENARIOS = (("drama", "action"), ("drama", "comedy"))


def made_board(folder: Path, seeds: tuple[int, ...] = (0, 1), changes: dict[str, Any] | None = None) -> Board:
    """Results of `base`, `one_more` and `worse`, whose reference is `base`, among two candidate sets.

    Args:
        folder: for the results.
        seeds: of each method.
        changes: other fields of all results.
    """
    for scenario in SCENARIOS:
        rng = np.random.default_rng(5)
        base = rng.integers(0, 12, 60)
        for method, shift in (("base", 0), ("one_more", 2), ("worse", 9)):
            for seed in seeds:
                noise = rng.integers(0, 3, 60)
                above = {"full": base + shift + noise, "sampled-30": (base + shift + noise) // 2}
                reference = {"reference": None if method == "base" else "base"}
                write_made(folder, method, seed, above, scenario=scenario, changes=reference | (changes or {}))
    return collect(folder, "made", 1)
