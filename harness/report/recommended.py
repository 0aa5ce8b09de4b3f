"""What methods recommend, whether or not it is the held-out item: metrics of their recommendation lists."""

from harness.report.collect import Board
from harness.report.columns import board_columns, means
from harness.report.markdown import escaped
from harness.report.rows import Row, shown_name
from harness.report.tables import Cell, figures, make_table


def recommended(board: Board, rows: dict[str, list[Row]]) -> list[str]:
    """A section with a table for each scenario; empty if no run kept its lists.

    Args:
        board: the results.
        rows: by scenario, the best first.
    """
    if all(entry.recommendations is None for entry in board.entries):
        return []
    columns = [column for column in board_columns() if column.is_of_lists]
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
        entries = [row.entry for row in scenario_rows]
        # Row by row, as the lists of a board may not fit in memory and those of a row are read for all columns at once.
        by_row = [[means([entry], column)[0] for column in columns] for entry in entries]
        names = [Cell(shown_name(entry)) for entry in entries]
        body = list(zip(names, *map(figures, zip(*by_row, strict=True)), strict=True))
        for table in make_table("full catalogue, all users", headings, body).parts():
            lines += ["", f"### Recommended: {escaped(scenario)}, {table.title}", "", table.markdown]
    return lines
