"""The reference row of a board, and what every other row gains over it."""

from collections import Counter

from harness.protocol.significance import MeanInterval, mean_interval
from harness.report.collect import Board
from harness.report.comparison import Comparison


def reference_row(board: Board) -> str | None:
    """The method that most methods of a board name as the same without source domains; None if it is not on the board.

    Of two that are named as often, the first by name.
    """
    methods = {entry.method for entry in board.entries}
    named = Counter(
        reference
        for method, reference in {(entry.method, entry.results[0].reference) for entry in board.entries}
        if reference in methods - {method}
    )
    return min(named, key=lambda method: (-named[method], method), default=None)


def gains_over(comparison: Comparison, reference: str | None) -> dict[str, MeanInterval]:
    """The gain of each method of a table over one of them; empty if that is not in the table."""
    if reference not in comparison.methods:
        return {}
    base = comparison.values[comparison.methods.index(reference)]
    return {
        method: mean_interval(values - base, comparison.spread)
        for method, values in zip(comparison.methods, comparison.values, strict=True)
        if method != reference
    }
