"""The markdown leaderboard: a pure function of result files."""

from harness.report.collect import Board
from harness.report.comparison import compare
from harness.report.cost import cost
from harness.report.failures import failed_scenarios
from harness.report.merging import merging
from harness.report.overview import overview
from harness.report.provenance import provenance
from harness.report.published import beside_published
from harness.report.recommended import recommended
from harness.report.remarks import remarks
from harness.report.rows import ordered_rows
from harness.report.scenarios import cells_as_full, columns_as_full, scenario_sections
from harness.report.ties import order_of_ties
from harness.report.training import training
from harness.report.transfer import transfer


def leaderboard(board: Board) -> str:
    """The leaderboard of a suite as markdown: an overview, a table for each scenario, and where it came from."""
    comparisons = {scenario: compare(entries) for scenario, entries in board.scenarios.items()}
    rows = {scenario: ordered_rows(board.scenarios[scenario], of) for scenario, of in comparisons.items()}
    shown = overview(board)
    as_full = cells_as_full(board)
    parts = [
        remarks(board),
        ["", "## Overview: NDCG@10, full catalogue", "", shown.table, "", shown.note],
        order_of_ties(board),
        scenario_sections(board, rows, comparisons, as_full),
        failed_scenarios(board),
        transfer(board, comparisons),
        recommended(board, rows),
        beside_published(board),
        training(board),
        cost(board),
        merging(board),
        provenance(board, columns_as_full(board, as_full)),
    ]
    return "\n".join(line for part in parts for line in part) + "\n"
