"""Ranks and groups of methods by their means over the scenarios of a board."""

import numpy as np

from harness.protocol.significance import groups, rank_intervals
from harness.report.comparison import Comparison


def places(comparison: Comparison) -> dict[str, tuple[str, str]]:
    """Rank interval and group letters of each method; empty if nothing is tested."""
    if not comparison.is_tested:
        return {}
    means = comparison.values.mean(axis=(1, 2))
    order = sorted(range(len(means)), key=lambda row: (-means[row], comparison.methods[row]))
    differ = comparison.differ[np.ix_(order, order)]
    letters = [""] * len(order)
    for number, group in enumerate(groups(differ)):
        for row in group:
            letters[row] += chr(ord("a") + number % 26) + "'" * (number // 26)
    ranks = rank_intervals(means[order], differ)
    return {
        comparison.methods[index]: (f"{first}–{last}" if first < last else f"{first}", letters[row])
        for row, (index, (first, last)) in enumerate(zip(order, ranks, strict=True))
    }
