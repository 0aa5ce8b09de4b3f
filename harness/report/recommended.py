"""What methods recommend, whether or not it is the held-out item: metrics of their recommendation lists."""

from harness.protocol.metrics import is_list_metric
from harness.report.collect import Board
from harness.report.columns import board_columns, cell
from harness.report.markdown import escaped, table
from harness.report.rows import Row, shown_name


def recommended(board: Board, rows: dict[str, list[Row]]) -> list[str]:
    """A section with a table for each scenario; empty if no run kept its lists.

    Args:
        board: the results.
        rows: by scenario, the best first.
    """
    if all(entry.recommendations is None for entry in board.entries):
        return []
    columns = [column for column in board_columns() if is_list_metric(column.metric)]
    headings = ["method", *(column.heading for column in columns)]
    lines = [
        "",
        "## What is recommended",
        "",
        "By each user's top ten. Coverage: share of the catalogue. Gini: 0 if all items are recommended equally often, "
        "near 1 if few are. Novelty: mean self-information of the items, in bits. Popularity: their mean training "
        "interactions.",
    ]
    for scenario, scenario_rows in rows.items():
        body = [[shown_name(row.entry), *(cell(row.entry, column) for column in columns)] for row in scenario_rows]
        lines += ["", f"### {escaped(scenario)}", "", table(headings, body)]
    return lines
