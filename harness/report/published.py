"""A board's rows beside published figures of the same methods on the same data."""

from harness.report.collect import Board, Entry
from harness.report.markdown import table
from harness.suites.published import Published, published

#: Split and overlap of published figures.
_AS_PUBLISHED = ("leave-one-out", "kept")


def beside_published(board: Board) -> list[str]:
    """A section with a row for each published figure of a method on the board; empty if there is none."""
    body = []
    for row in published(board.suite, board.version):
        entry = _entry_for(board, row)
        if entry is None:
            continue
        for metric, figure in row.metrics.items():
            mean = entry.mean(row.candidates, metric)
            if mean is not None:
                cells = [row.method, row.target, row.candidates, metric.upper(), f"{mean:.4f}", f"{figure:.4f}"]
                body.append([*cells, f"{mean / figure - 1:+.0%}", row.by])
    if not body:
        return []
    return [
        "",
        "## Beside published figures",
        "",
        "Same data, same split, the same candidates, as far as others say. Their settings and budgets are theirs.",
        "",
        table(
            ["method", "target", "candidates", "metric", "here", "published", "here is", "by"],
            body,
            [*["left"] * 4, *["right"] * 3, "left"],
        ),
    ]


def _entry_for(board: Board, row: Published) -> Entry | None:
    """The first entry of the row's method and target: methods without sources have the same figures in all of them."""
    for entry in board.entries:
        scenario = entry.results[0].scenario
        if (
            entry.method == row.method
            and scenario.target == row.target
            and (scenario.split, scenario.overlap) == _AS_PUBLISHED
        ):
            return entry
    return None
