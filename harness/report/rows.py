"""The methods of a scenario in the order of the main metric, and which of them differ from the best."""

from dataclasses import dataclass

import numpy as np

from harness.protocol.metrics import Floats
from harness.protocol.significance import MeanInterval, holm, mean_interval, paired_randomisation_p_values
from harness.report.collect import Entry
from harness.report.markdown import escaped

#: Candidates and metric that methods are ordered and tested by.
MAIN = ("full", "ndcg@10")

_SIGNIFICANCE_LEVEL = 0.05


@dataclass(frozen=True)
class Row:
    """A method on a scenario.

    Attributes:
        entry: its results.
        values: main metric, float64 [n_seeds, n_users].
        figure: its mean and confidence interval.
    """

    entry: Entry
    values: Floats
    figure: MeanInterval


def ordered_rows(entries: tuple[Entry, ...]) -> list[Row]:
    """The rows of a scenario, the best first."""
    rows = []
    for entry in entries:
        values = entry.values(*MAIN)
        assert values is not None  # noqa: S101 - every suite has full candidates, and a result has users
        rows.append(Row(entry, values, mean_interval(values)))
    return sorted(rows, key=lambda row: (-row.figure.mean, row.entry.method))


def not_worse(rows: list[Row]) -> list[bool]:
    """For each of some ordered rows, whether the test finds no difference from the first; False for the first."""
    best = rows[0].values.mean(axis=0)
    others = np.array([row.values.mean(axis=0) for row in rows[1:]]).reshape(-1, len(best))
    p_values = holm(paired_randomisation_p_values(best, others).tolist())
    return [False, *(p >= _SIGNIFICANCE_LEVEL for p in p_values)]


def has_default_settings(entry: Entry) -> bool:
    """Whether a method ran with default settings although the budget has trials to choose them."""
    return any(r.budget["trials"] > 1 and r.settings and r.tuning is None for r in entry.results)


def shown_name(entry: Entry) -> str:
    """A method's name as markdown, with a mark if it ran with default settings."""
    return escaped(entry.method) + ("‡" if has_default_settings(entry) else "")
