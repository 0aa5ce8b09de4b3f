"""Means of all methods by candidate set, slice and metric, as JSON for the table of the overview."""

from collections.abc import Sequence

import numpy as np
import orjson
from markupsafe import Markup

from harness.protocol.metrics import Floats
from harness.report.collect import Board, Entry
from harness.report.comparison import MAIN
from harness.report.page.content import Explorer
from harness.results.record import RunResult

_METRICS = ("ndcg@10", "ndcg@5", "ndcg@20", "hr@1", "hr@5", "hr@10", "hr@20", "mrr@10")


def explorer(board: Board, methods: Sequence[str], table_id: str) -> Explorer:
    """The figures for a table with a row for each method and a column for each scenario and the mean over them.

    They are the means over seeds of the metrics in the result files, which were checked against the ranks.
    """
    entries = {(scenario, e.method): e for scenario, of in board.scenarios.items() for e in of}
    names = sorted({name for entry in entries.values() for name in _measured(entry)}, key=lambda n: (n != MAIN[0], n))
    slices = list(dict.fromkeys(name for entry in entries.values() for name in entry.results[0].slices))
    cells = [
        [_means(entries.get((scenario, method)), names, slices) for scenario in board.scenarios] for method in methods
    ]
    data = [[_scaled(figures) for figures in [*row, np.mean(row, axis=0)]] for row in cells]
    text = orjson.dumps(data).decode()
    return Explorer(table_id, tuple(names), tuple(slices), _METRICS, Markup(text))  # noqa: S704 - numbers and nulls


def _measured(entry: Entry) -> list[str]:
    return [name for name, record in entry.results[0].candidates.items() if record.metrics is not None]


def _means(entry: Entry | None, names: Sequence[str], slices: Sequence[str]) -> Floats:
    """Means over seeds, NaN where there is none: float64 [n_candidate_sets, n_slices, n_metrics]."""
    if entry is None:
        return np.full((len(names), len(slices), len(_METRICS)), np.nan)
    seeds = [[_figures(result, name, slices) for name in names] for result in entry.results]
    return np.asarray(np.array(seeds, dtype=np.float64).mean(axis=0))


def _figures(result: RunResult, name: str, slices: Sequence[str]) -> list[list[float | None]]:
    record = result.candidates.get(name)
    metrics = (record.metrics if record else None) or {}
    return [[metrics.get(each, {}).get(metric) for metric in _METRICS] for each in slices]


def _scaled(means: Floats) -> list[int | None]:
    """Means in units of 0.0001, rounded as the tables print them."""
    return [None if np.isnan(mean) else round(float(f"{mean:.4f}") * 10_000) for mean in means.ravel()]
