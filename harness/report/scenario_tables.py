"""The tables of a scenario: the main one, one by slice and one by candidate set."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from harness.protocol.candidate_names import candidate_count
from harness.protocol.metrics import CUTOFFS, ndcg
from harness.report.collect import Board, Entry
from harness.report.columns import Column, board_columns, means
from harness.report.comparison import MAIN, Comparison, compare
from harness.report.cost import cpu_seconds
from harness.report.failures import failed_methods
from harness.report.reference import gains_over, reference_row
from harness.report.rows import Row, ordered_rows, shown_name
from harness.report.tables import DASH, Cell, Table, bold_if, figures, interval, make_table, signed

#: The cell of a method with the figures of the full catalogue for every user.
_AS_FULL = "as full"

#: (scenario, method, candidates).
FullCell = tuple[str, str, str]


@dataclass(frozen=True)
class BoardTables:
    """The rows and tables of a board's scenarios.

    Attributes:
        board: the results.
        metric: that rows are ordered and compared by, such as `ndcg@10`.
    """

    board: Board
    metric: str = MAIN[1]

    @cached_property
    def comparisons(self) -> dict[str, Comparison]:
        """The comparison of the rows of each scenario."""
        return {name: compare(entries, metric=self.metric) for name, entries in self.board.scenarios.items()}

    @cached_property
    def rows(self) -> dict[str, list[Row]]:
        """The rows of each scenario, the best first."""
        return {
            name: ordered_rows(entries, self.comparisons[name], self.metric)
            for name, entries in self.board.scenarios.items()
        }

    @cached_property
    def reference(self) -> str | None:
        """The row that the others are compared with."""
        return reference_row(self.board)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The board's columns of metrics of ranks. Those by slice show this metric instead of NDCG@10."""
        return tuple(
            replace(column, metric=self.metric) if not column.is_main and column.metric == MAIN[1] else column
            for column in board_columns()
            if not column.is_of_lists
        )

    @cached_property
    def as_full(self) -> frozenset[FullCell]:
        """Cells of retrieved candidates in which the index changes nothing for any user, as far as it retrieves."""
        return cells_as_full(self.board)

    def main_table(self, scenario: str) -> Table:
        """The main metric with its interval, other metrics, the gain over the reference row, and cost."""
        rows, comparison = self.rows[scenario], self.comparisons[scenario]
        entries = [row.entry for row in rows]
        best = entries[0].method
        level = comparison.same_as(best) - {best}
        gains = gains_over(comparison, self.reference)
        trained = any(map(cpu_seconds, entries))
        main = self.metric.upper()
        columns = {
            "method": [bold_if(shown_name(entry), entry.method == best) for entry in entries],
            main: [
                bold_if(interval(row.figure) + "†" * (row.entry.method in level), row.entry.method == best)
                for row in rows
            ],
            **{c.heading: figures(means(entries, c)) for c in self.columns if c.is_main and c.metric != self.metric},
            f"gain over {self.reference}": [Cell(signed(gains.get(entry.method))) for entry in entries],
            **{
                f"{main}, {name}": figures(means(entries, Column("", name, self.metric)))
                for name in self._candidates(scenario)
                if is_sampled(name)
            },
            "CPU-s": [Cell(_seconds(entry) if trained else DASH) for entry in entries],
        }
        body = list(zip(*columns.values(), strict=True))
        for method, status in failed_methods(self.board, scenario).items():
            body.append((Cell(method), Cell(status, "italic"), *[Cell(DASH)] * (len(columns) - 2)))
        return make_table("full catalogue, all users", list(columns), body)

    def slice_tables(self, scenario: str) -> list[Table]:
        """A table of each metric and candidate set with columns of slices."""
        by_title: dict[str, list[Column]] = {}
        for column in self.columns:
            if not column.is_main:
                by_title.setdefault(_title(column), []).append(column)
        tables = [self._table(scenario, title, columns) for title, columns in by_title.items()]
        return [table for table in tables if len(table.headings) > 1]

    def candidates_table(self, scenario: str) -> Table | None:
        """The main metric among each candidate set; None if the main table has all of them."""
        names = ["full", *self._candidates(scenario)]
        if all(name == "full" or is_sampled(name) for name in names):
            return None
        columns = [Column(name, name, self.metric) for name in names]
        return self._table(scenario, f"{self.metric.upper()}, by candidate set, all users", columns)

    def _table(self, scenario: str, title: str, columns: list[Column]) -> Table:
        """A table of means, the best of each column in bold."""
        entries = [row.entry for row in self.rows[scenario]]
        cells = [[Cell(shown_name(entry)) for entry in entries]]
        for column in columns:
            as_full = [(scenario, entry.method, column.candidates) in self.as_full for entry in entries]
            shown = figures(means(entries, column), best_in_bold=True)
            cells.append([Cell(_AS_FULL) if same else cell for same, cell in zip(as_full, shown, strict=True)])
        return make_table(title, ["method", *(column.heading for column in columns)], zip(*cells, strict=True))

    def _candidates(self, scenario: str) -> list[str]:
        """The candidate sets that have a column, but `full`."""
        hidden = {"full", *columns_as_full(self.board, self.as_full)}
        return [name for name in self.rows[scenario][0].entry.results[0].candidates if name not in hidden]


def is_sampled(candidates: str) -> bool:
    """Whether a candidate set is of the held-out item and uniform negatives, as in many papers."""
    return candidates.startswith("sampled-")


def equal_rows(rows: list[Row]) -> list[list[str]]:
    """Methods with the same ranks for every user, candidate set and seed, where there are several."""
    same: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        same.setdefault(tuple(result.ranks_sha256 for result in row.entry.results), []).append(row.entry.method)
    return [methods for methods in same.values() if len(methods) > 1]


def cells_as_full(board: Board) -> frozenset[FullCell]:
    """Cells of retrieved candidates in which the index changes nothing for any user, as far down as it retrieves."""
    cells = []
    for scenario, entries in board.scenarios.items():
        for entry in entries:
            for name, record in entry.results[0].candidates.items():
                cutoff = max((k for k in CUTOFFS if k <= candidate_count(name)), default=0)
                # Of fewer than ten items, NDCG@10 is another figure.
                if record.index is not None and cutoff >= 10 and _same_as_full(entry, name, cutoff):
                    cells.append((scenario, entry.method, name))
    return frozenset(cells)


def columns_as_full(board: Board, as_full: frozenset[FullCell]) -> frozenset[str]:
    """Candidate sets without a column: every method measured on them has the figures of the full catalogue."""
    others = {
        name
        for scenario, entries in board.scenarios.items()
        for entry in entries
        for name, record in entry.results[0].candidates.items()
        if record.metrics is not None and (scenario, entry.method, name) not in as_full
    }
    return frozenset(name for _, _, name in as_full if name not in others)


def _same_as_full(entry: Entry, candidates: str, cutoff: int) -> bool:
    if any(candidates not in ranks.ranks for ranks in entry.tables):
        return False
    pairs = [(ndcg(t.ranks[candidates], cutoff), ndcg(t.ranks["full"], cutoff)) for t in entry.tables]
    return all(np.allclose(values, full, rtol=0, atol=1e-9) for values, full in pairs)


def _title(column: Column) -> str:
    """The title of the table of a column that is not in the main one."""
    users = "all users" if column.slice == "all" else "by slice"
    return f"{column.metric.upper()}, {'full catalogue' if column.candidates == 'full' else column.candidates}, {users}"


def _seconds(entry: Entry) -> str:
    seconds = cpu_seconds(entry)
    return DASH if seconds is None else f"{seconds:,.0f}"
