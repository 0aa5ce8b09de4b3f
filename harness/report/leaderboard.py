"""The markdown leaderboard: a pure function of result files."""

import numpy as np

from harness.report.collect import Board
from harness.report.cost import cost
from harness.report.failures import failed_methods, failed_scenarios
from harness.report.markdown import bold, escaped, table
from harness.report.merging import merging
from harness.report.provenance import provenance
from harness.report.published import beside_published
from harness.report.recommended import recommended
from harness.report.remarks import remarks
from harness.report.rows import Row, ordered_rows, shown_name
from harness.report.scenarios import cells_as_full, columns_as_full, scenario_sections
from harness.report.ties import order_of_ties
from harness.report.training import training
from harness.report.transfer import transfer


def leaderboard(board: Board) -> str:
    """The leaderboard of a suite as markdown: an overview, a table for each scenario, and where it came from."""
    rows = {scenario: ordered_rows(entries) for scenario, entries in board.scenarios.items()}
    as_full = cells_as_full(board)
    parts = [
        remarks(board),
        ["", "## Overview: NDCG@10, full catalogue", "", _overview(board, rows)],
        order_of_ties(board),
        scenario_sections(board, rows, as_full),
        failed_scenarios(board),
        transfer(board),
        recommended(board, rows),
        beside_published(board),
        training(board),
        cost(board),
        merging(board),
        provenance(board, columns_as_full(board, as_full)),
    ]
    return "\n".join(line for part in parts for line in part) + "\n"


def overview(board: Board) -> str:
    """The table of NDCG@10 by method and scenario, the best in bold, as markdown."""
    return _overview(board, {scenario: ordered_rows(entries) for scenario, entries in board.scenarios.items()})


def _overview(board: Board, rows: dict[str, list[Row]]) -> str:
    means: dict[str, dict[str, float]] = {}
    names: dict[str, str] = {}
    for scenario, scenario_rows in rows.items():
        for row in scenario_rows:
            means.setdefault(row.entry.method, {})[scenario] = row.figure.mean
            names[row.entry.method] = max(names.get(row.entry.method, ""), shown_name(row.entry), key=len)
    scenarios = list(rows)
    best = {s: rows[s][0].entry.method for s in scenarios}
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

    body = [
        [
            names[method],
            *(figure(method, scenario) for scenario in scenarios),
            f"{average(method):.4f}" if len(means[method]) == len(scenarios) else "–",
        ]
        for method in sorted(means, key=lambda method: (-average(method), method))
    ]
    return table(["method", *map(escaped, scenarios), "mean"], body)
