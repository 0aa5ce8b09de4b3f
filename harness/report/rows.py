"""The methods of a scenario in the order of a metric."""

from dataclasses import dataclass

from harness.protocol.significance import MeanInterval, mean_interval
from harness.report.badges import marks
from harness.report.collect import Entry
from harness.report.comparison import MAIN, Comparison


@dataclass(frozen=True)
class Row:
    """A method on a scenario.

    Attributes:
        entry: its results.
        figure: mean and confidence interval of the metric that rows are ordered by.
    """

    entry: Entry
    figure: MeanInterval


def ordered_rows(entries: tuple[Entry, ...], comparison: Comparison, metric: str = MAIN[1]) -> list[Row]:
    """The rows of a scenario, the best first.

    Args:
        entries: of the scenario.
        comparison: of them, by the metric.
        metric: of ranks among the full catalogue.
    """
    rows = []
    for entry in entries:
        values = entry.values(MAIN[0], metric)
        assert values is not None  # noqa: S101 - every suite has full candidates, and a result has users
        rows.append(Row(entry, mean_interval(values, comparison.spread)))
    return sorted(rows, key=lambda row: (-row.figure.mean, row.entry.method))


def has_default_settings(entry: Entry) -> bool:
    """Whether a method ran with default settings although the budget has trials to choose them."""
    return any(r.budget["trials"] > 1 and r.settings and r.tuning is None for r in entry.results)


def is_scored_outside(entry: Entry) -> bool:
    """Whether the row was made from files of scores or lists, and the harness ran no method."""
    return any(result.outside for result in entry.results)


def shown_name(*entries: Entry) -> str:
    """A method's name with marks: scored outside, default settings, and its badges.

    Args:
        entries: of one method, on one scenario or several.
    """
    outside, default = any(map(is_scored_outside, entries)), any(map(has_default_settings, entries))
    return entries[0].method + "§" * outside + "‡" * default + marks(entries)
