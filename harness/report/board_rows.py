"""A board as one long table for other programs: a row for each scenario, method, candidate set, slice and metric."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields

from harness.protocol.metrics import is_list_metric
from harness.protocol.significance import MeanInterval, mean_interval
from harness.report.collect import Board, Entry
from harness.report.columns import board_columns
from harness.report.comparison import Comparison, compare
from harness.report.reference import gains_over, reference_row


@dataclass(frozen=True)
class BoardRow:
    """One figure of a board, with full precision. None stands for what is not known or not defined.

    Attributes:
        suite: its name.
        version: of the suite.
        scenario: its name.
        target: the target domain.
        sources: the source domains, joined by +.
        method: its name.
        candidates: the candidate set.
        slice: of users; `all` for everyone.
        metric: with its cutoff, as in `ndcg@10`.
        seeds: number of seeds.
        users: number of users in the slice.
        mean: over users and seeds.
        low: lower end of the 95 % confidence interval.
        high: upper end.
        interval_over: what the intervals are over: `seeds and users`, or `users` with one seed.
        reference: the method that the gain is over.
        gain: mean less that of the reference, on the seeds that the methods of the scenario share.
        gain_low: lower end of its interval.
        gain_high: upper end.
    """

    suite: str
    version: int
    scenario: str
    target: str
    sources: str
    method: str
    candidates: str
    slice: str
    metric: str
    seeds: int
    users: int
    mean: float
    low: float | None = None
    high: float | None = None
    interval_over: str | None = None
    reference: str | None = None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None


def board_metrics() -> tuple[str, ...]:
    """The metrics of the board's columns, those of lists included."""
    return tuple(dict.fromkeys(column.metric for column in board_columns()))


def board_rows(board: Board, metrics: Sequence[str]) -> Iterator[BoardRow]:
    """The rows of a board.

    Args:
        board: the results.
        metrics: of ranks or lists, with their cutoffs. Those of lists are over all users and have no interval.
    """
    reference = reference_row(board)
    for scenario, entries in board.scenarios.items():
        names = dict.fromkeys(name for entry in entries for name in entry.results[0].candidates)
        for metric in metrics:
            if is_list_metric(metric):
                for entry in entries:
                    mean = entry.mean("full", metric)
                    if mean is not None:
                        yield _row(board, scenario, entry, "full", "all", metric, mean)
            else:
                for candidates in names:
                    yield from _rows_of_ranks(board, scenario, candidates, metric, reference)


def _rows_of_ranks(
    board: Board, scenario: str, candidates: str, metric: str, reference: str | None
) -> Iterator[BoardRow]:
    """The rows of a scenario's methods among some candidates, by slice."""
    entries = board.scenarios[scenario]
    everyone = compare(entries, candidates, metric)
    values = {entry.method: entry.values(candidates, metric) for entry in entries}
    slices = dict.fromkeys(name for entry in entries for name in entry.tables[0].slices)
    for slice_name in slices:
        members = next(e.tables[0].slices[slice_name] for e in entries if slice_name in e.tables[0].slices)
        if not members.any():
            continue
        comparison = Comparison(
            everyone.methods, everyone.values[:, :, members] if everyone.methods else everyone.values
        )
        gains = gains_over(comparison, reference)
        for entry in entries:
            of_all = values[entry.method]
            if of_all is None or slice_name not in entry.tables[0].slices:
                continue
            figure = mean_interval(of_all[:, members], comparison.spread)
            gain = gains.get(entry.method)
            yield _row(board, scenario, entry, candidates, slice_name, metric, figure.mean, figure, reference, gain)


def _row(
    board: Board,
    scenario: str,
    entry: Entry,
    candidates: str,
    slice_name: str,
    metric: str,
    mean: float,
    figure: MeanInterval | None = None,
    reference: str | None = None,
    gain: MeanInterval | None = None,
) -> BoardRow:
    first = entry.results[0]
    low, high = _ends(figure)
    gain_low, gain_high = _ends(gain)
    return BoardRow(
        suite=board.suite,
        version=board.version,
        scenario=scenario,
        target=first.scenario.target,
        sources="+".join(first.scenario.sources),
        method=entry.method,
        candidates=candidates,
        slice=slice_name,
        metric=metric,
        seeds=len(entry.results),
        users=first.slices[slice_name],
        mean=mean,
        low=low,
        high=high,
        interval_over=None if low is None else "seeds and users" if len(entry.results) > 1 else "users",
        reference=reference if gain else None,
        gain=gain.mean if gain else None,
        gain_low=gain_low,
        gain_high=gain_high,
    )


def _ends(figure: MeanInterval | None) -> tuple[float | None, float | None]:
    """The ends of an interval; None without one, as of a single user."""
    if figure is None or not math.isfinite(figure.half_width):
        return None, None
    return figure.mean - figure.half_width, figure.mean + figure.half_width


def rows_csv(rows: Iterator[BoardRow]) -> str:
    """Rows as CSV with a line of headings; an empty cell for None."""
    file = io.StringIO()
    writer = csv.DictWriter(file, [field.name for field in fields(BoardRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return file.getvalue()
