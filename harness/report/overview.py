"""The table of all methods and scenarios of a board."""

from dataclasses import dataclass

import numpy as np

from harness.protocol.significance import groups, rank_intervals
from harness.report.collect import Board
from harness.report.comparison import MAIN, Comparison, compare_over_scenarios
from harness.report.failures import failed_methods
from harness.report.markdown import bold, escaped, table
from harness.report.rows import shown_name


@dataclass(frozen=True)
class Overview:
    """A table of NDCG@10 by method and scenario, and how to read it.

    Attributes:
        table: markdown.
        note: what its ranks and groups mean, or why there are none.
    """

    table: str
    note: str


def overview(board: Board) -> Overview:
    """The table of NDCG@10 by method and scenario, the best in bold, with ranks and groups of the means."""
    means: dict[str, dict[str, float]] = {}
    names: dict[str, str] = {}
    for scenario, entries in board.scenarios.items():
        for entry in entries:
            mean = entry.mean(*MAIN)
            assert mean is not None  # noqa: S101 - every suite has full candidates
            means.setdefault(entry.method, {})[scenario] = mean
            names[entry.method] = max(names.get(entry.method, ""), shown_name(entry), key=len)
    scenarios = list(board.scenarios)
    best = {s: min(means, key=lambda method: (-means[method].get(s, -1.0), method)) for s in scenarios}
    failed = {scenario: failed_methods(board, scenario) for scenario in scenarios}
    for method in (method for methods in failed.values() for method in methods):
        means.setdefault(method, {})
        names.setdefault(method, escaped(method))

    def average(method: str) -> float:
        return float(np.mean([means[method].get(scenario, 0.0) for scenario in scenarios]))

    def figure(method: str, scenario: str) -> str:
        if scenario not in means[method]:
            return failed[scenario].get(method, "–")
        return bold(f"{means[method][scenario]:.4f}", best[scenario] == method)

    places = ranks_and_groups(compare_over_scenarios(board))
    body = [
        [
            names[method],
            *(figure(method, scenario) for scenario in scenarios),
            f"{average(method):.4f}" if len(means[method]) == len(scenarios) else "–",
            *([*places.get(method, ("–", "–"))] if places else []),
        ]
        for method in sorted(means, key=lambda method: (-average(method), method))
    ]
    headings = ["method", *map(escaped, scenarios), "mean", *(["rank", "group"] if places else [])]
    return Overview(table(headings, body), _RANKS if places else _NO_RANKS)


def ranks_and_groups(comparison: Comparison) -> dict[str, tuple[str, str]]:
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


_RANKS = (
    "Rank: of the mean over these scenarios, with intervals over users and seeds that all hold at once (95 %). Group: "
    "rows that share a letter cannot be told apart; the error over all pairs of rows is held at 5 %. A person who "
    "takes part in several scenarios counts as one."
)
_NO_RANKS = "There are no ranks: they need two seeds that the rows share in every scenario."
