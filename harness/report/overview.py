"""The tables of all methods of a board: their means over scenarios, and their figures in each scenario."""

from dataclasses import dataclass

import numpy as np

from harness.protocol.significance import groups, rank_intervals
from harness.report.collect import Board
from harness.report.comparison import MAIN, Comparison, compare_over_scenarios
from harness.report.cost import cpu_seconds
from harness.report.failures import failed_methods
from harness.report.markdown import anchor, escaped
from harness.report.reference import gains_over, reference_row
from harness.report.rows import shown_name
from harness.report.tables import DASH, WIDTH, Cell, Table, figures, make_table, signed


@dataclass(frozen=True)
class Overview:
    """All methods of a board.

    Attributes:
        summary: mean over scenarios, gain over the reference row, rank, group and cost of each method.
        note: what the columns of the summary mean, or why there are no ranks.
        scenarios: the figure of each method in each scenario; a table, or several where a page has no room for one.
        legend: scenarios by the short names that the headings have; empty if the headings have their names.
    """

    summary: Table
    note: str
    scenarios: tuple[Table, ...]
    legend: dict[str, str]

    @property
    def markdown(self) -> list[str]:
        """Sections of the board."""
        lines = ["", f"## Overview: {self.summary.title}", "", self.summary.markdown, "", self.note]
        for table in self.scenarios:
            lines += ["", f"### Overview: {table.title}", "", table.markdown]
        if self.legend:
            links = (f"{short}: [{escaped(name)}](#{anchor(name)})" for short, name in self.legend.items())
            lines += ["", f"{'; '.join(links)}."]
        return lines


@dataclass(frozen=True)
class _Rows:
    """What the tables show of each method.

    Attributes:
        names: as they are shown, with their marks.
        means: by method and scenario, of those with results.
        seconds: CPU-seconds by method and scenario, of those whose results have them.
        failed: methods without a result of a scenario whose runs failed or were skipped, and which, by scenario.
    """

    names: dict[str, str]
    means: dict[str, dict[str, float]]
    seconds: dict[str, dict[str, float]]
    failed: dict[str, dict[str, str]]

    @property
    def order(self) -> list[str]:
        """The methods, the best first; a missing result counts as 0."""
        return sorted(self.names, key=lambda method: (-self._sum(method), method))

    @property
    def mean_cells(self) -> list[Cell]:
        """The mean of each method over scenarios, in order; a dash for a method without results of all."""
        complete = {method for method, means in self.means.items() if len(means) == len(self.failed)}
        means = [self._sum(method) / len(self.failed) if method in complete else None for method in self.order]
        return figures(means, best_in_bold=True)

    def mean_seconds(self, method: str) -> str:
        """The mean CPU-seconds over scenarios; a dash if they are not known of all."""
        seconds = self.seconds[method].values()
        return f"{np.mean(list(seconds)):,.0f}" if len(seconds) == len(self.failed) else DASH

    def _sum(self, method: str) -> float:
        return float(np.sum([self.means[method].get(scenario, 0.0) for scenario in self.failed]))


def overview(board: Board, metric: str = MAIN[1]) -> Overview:
    """All methods of a board by a metric among the full catalogue.

    Args:
        board: the results.
        metric: of ranks, with its cutoff.
    """
    rows = _rows(board, metric)
    comparison = compare_over_scenarios(board, metric=metric)
    places = ranks_and_groups(comparison)
    reference = reference_row(board)
    gains = gains_over(comparison, reference)
    trained = any(any(seconds.values()) for seconds in rows.seconds.values())
    body = [
        [
            Cell(rows.names[method]),
            mean,
            Cell(signed(gains.get(method))),
            *(map(Cell, places.get(method, (DASH, DASH)))),
            Cell(rows.mean_seconds(method) if trained else DASH),
        ]
        for method, mean in zip(rows.order, rows.mean_cells, strict=True)
    ]
    where = f"{metric.upper()}, full catalogue, all users"
    headings = ["method", metric.upper(), f"gain over {reference}", "rank", "group", "CPU-s"]
    summary = make_table(where if len(board.scenarios) == 1 else f"{where}, mean over scenarios", headings, body)
    notes = [
        _gain_note(reference, len(board.scenarios)) if gains else "",
        _RANKS if places else _NO_RANKS,
        "CPU-s: CPU-seconds of all trainings that a row is made from, mean over seeds and scenarios."
        if trained
        else "",
    ]
    by_scenario, legend = _by_scenario(rows, where)
    return Overview(summary, " ".join(filter(None, notes)), by_scenario, legend)


def _rows(board: Board, metric: str) -> _Rows:
    failed = {scenario: failed_methods(board, scenario) for scenario in board.scenarios}
    names = {method: method for methods in failed.values() for method in methods}
    names |= {entry.method: entry.method for entry in board.entries}
    rows = _Rows(names, {name: {} for name in names}, {name: {} for name in names}, failed)
    for scenario, entries in board.scenarios.items():
        for entry in entries:
            mean = entry.mean(MAIN[0], metric)
            assert mean is not None  # noqa: S101 - every suite has full candidates
            rows.means[entry.method][scenario] = mean
            if (seconds := cpu_seconds(entry)) is not None:
                rows.seconds[entry.method][scenario] = seconds
    for method in {entry.method for entry in board.entries}:
        names[method] = shown_name(*(entry for entry in board.entries if entry.method == method))
    return rows


def _by_scenario(rows: _Rows, where: str) -> tuple[tuple[Table, ...], dict[str, str]]:
    """A method's figure in each scenario, the best of each in bold, and the legend of the headings."""
    scenarios = list(rows.failed)
    if len(scenarios) == 1:
        return (), {}
    columns = []
    for scenario in scenarios:
        cells = figures([rows.means[method].get(scenario) for method in rows.order], best_in_bold=True)
        statuses = [rows.failed[scenario].get(method) for method in rows.order]
        columns.append([Cell(s, "italic") if s else cell for s, cell in zip(statuses, cells, strict=True)])

    def table(headings: list[str]) -> Table:
        body = zip([Cell(rows.names[method]) for method in rows.order], *columns, strict=True)
        return make_table(f"{where}, by scenario", ["method", *headings], body)

    by_name = table(scenarios)
    if by_name.width <= WIDTH:
        return (by_name,), {}
    legend = {f"S{number}": name for number, name in enumerate(scenarios, 1)}
    return tuple(table(list(legend)).parts()), legend


def ranks_and_groups(comparison: Comparison) -> dict[str, tuple[str, str]]:
    """Rank interval and group letters of each method; empty if nothing is tested."""
    if not comparison.is_tested:
        return {}
    means = comparison.values.mean(axis=(1, 2))
    order = sorted(range(len(means)), key=lambda row: (-means[row], comparison.methods[row]))
    differ = comparison.differ[np.ix_(order, order)]
    letters = [""] * len(order)
    for number, group in enumerate(groups(differ)):
        for row in group:
            letters[row] += chr(ord("a") + number % 26) + "'" * (number // 26)
    ranks = rank_intervals(means[order], differ)
    return {
        comparison.methods[index]: (f"{first}–{last}" if first < last else f"{first}", letters[row])
        for row, (index, (first, last)) in enumerate(zip(order, ranks, strict=True))
    }


def _gain_note(reference: str | None, n_scenarios: int) -> str:
    users = "seeds and users" if n_scenarios == 1 else "seeds and users of all scenarios"
    return (
        f"Gain over {escaped(reference or '')}: the difference ± the half-width of its 95 % confidence interval over "
        f"{users}, or over users only where there is one seed; each interval stands for itself."
    )


_RANKS = (
    "Rank: of the mean over these scenarios, with intervals over users and seeds that all hold at once (95 %). Group: "
    "rows that share a letter cannot be told apart; the error over all pairs of rows is held at 5 %. A person who "
    "takes part in several scenarios counts as one."
)
_NO_RANKS = "There are no ranks: they need two seeds that the rows share in every scenario."
