"""A board's rows beside what others have published for the same method on the same data."""

from tabulate import tabulate

from harness.report.collect import Board, Entry
from harness.suites.published import Published, published

#: Split and overlap of what others publish.
_AS_PUBLISHED = ("leave-one-out", "kept")


def beside_published(board: Board) -> list[str]:
    """A section with a row for each published figure that the board has a row for; nothing where there is none."""
    body = []
    for row in published(board.suite, board.version):
        entry = _same(board, row)
        if entry is None:
            continue
        for metric, theirs in row.metrics.items():
            values = entry.values(row.candidates, metric)
            if values is not None:
                ours = float(values.mean())
                cells = [row.method, row.target, row.candidates, metric.upper(), f"{ours:.4f}", f"{theirs:.4f}"]
                body.append([*cells, f"{ours / theirs - 1:+.0%}", row.by])
    if not body:
        return []
    return [
        "",
        "## Beside published figures",
        "",
        "Same data, same split, the same candidates, as far as others say. Their settings and budgets are theirs.",
        "",
        tabulate(
            body,
            ["method", "target", "candidates", "metric", "here", "published", "here is", "by"],
            tablefmt="pipe",
            disable_numparse=True,
            colalign=["left", "left", "left", "left", "right", "right", "right", "left"],
        ),
    ]


def _same(board: Board, row: Published) -> Entry | None:
    """A method that looks at the target alone has the same figures in each scenario of that target."""
    for entries in board.scenarios.values():
        for entry in entries:
            scenario = entry.results[0].scenario
            if (
                entry.method == row.method
                and scenario.target == row.target
                and (scenario.split, scenario.overlap) == _AS_PUBLISHED
            ):
                return entry
    return None
