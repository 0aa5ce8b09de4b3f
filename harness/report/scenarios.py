"""A board's section for each scenario: its data and its table."""

import numpy as np

from harness.data.times import as_day
from harness.protocol.candidate_names import candidate_count
from harness.protocol.metrics import CUTOFFS, is_list_metric, ndcg
from harness.report.collect import Board, Entry
from harness.report.columns import Column, board_columns, cell
from harness.report.comparison import Comparison
from harness.report.failures import failed_methods, failure_lines
from harness.report.markdown import bold, escaped, table
from harness.report.rows import Row, shown_name
from harness.report.time_guard import time_guard
from harness.results.record import RunResult

#: The cell of a method with the figures of the full catalogue for every user.
_AS_FULL = "as full"

#: (scenario, method, candidates).
Cell = tuple[str, str, str]


def scenario_sections(
    board: Board, rows: dict[str, list[Row]], comparisons: dict[str, Comparison], as_full: frozenset[Cell]
) -> list[str]:
    """A section for each scenario.

    Args:
        board: the results.
        rows: by scenario, the best first.
        comparisons: of the rows of each scenario.
        as_full: see `cells_as_full`.
    """
    lines = []
    for scenario, scenario_rows in rows.items():
        result = scenario_rows[0].entry.results[0]
        lines += [
            "",
            f"## {escaped(scenario)}",
            "",
            _description(result),
            "",
            time_guard(result),
            "",
            _seeds(board.scenarios[scenario], comparisons[scenario]),
            "",
            _table(board, scenario, scenario_rows, comparisons[scenario], as_full),
            *failure_lines(board, scenario),
        ]
    return lines


def cells_as_full(board: Board) -> frozenset[Cell]:
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


def columns_as_full(board: Board, as_full: frozenset[Cell]) -> frozenset[str]:
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


def _description(result: RunResult) -> str:
    target, sizes = result.data[result.scenario.target], result.slices
    return (
        f"Target {result.scenario.target} ({target.users:,} users, {target.items:,} items, "
        f"{target.training_interactions:,} training interactions), sources "
        f"{', '.join(result.scenario.sources)}; split {_split(result)}"
        f"{'; shared users left in one domain only' if result.scenario.overlap == 'none' else ''}. "
        f"Test users: {sizes['all']:,} ({result.left_out:,} take no part), of them cold "
        f"{sizes['cold_users']:,} (the {sizes['cold_users'] / sizes['all']:.1%} with the shortest histories); "
        f"held-out items: head {sizes['head_items']:,}, tail {sizes['tail_items']:,}, "
        f"cold {sizes['cold_items']:,}."
    )


def _seeds(entries: tuple[Entry, ...], comparison: Comparison) -> str:
    """The number of seeds, and rows that have no mark and an interval over users only."""
    counts = sorted({len(entry.results) for entry in entries})
    seeds = f"Seeds: {counts[0]}" + (f" to {counts[-1]}" if counts[1:] else "")
    if not comparison.is_tested:
        return f"{seeds}. No row is marked{'; ± is over users only' if counts == [1] else ''}."
    unmarked = [entry.method for entry in entries if entry.method not in comparison.methods]
    return f"{seeds}." + (f" One seed, so no mark, and ± over users only: {', '.join(unmarked)}." if unmarked else "")


def _split(result: RunResult) -> str:
    name, *instants = result.scenario.split.split("/")
    days = [as_day(instant) for instant in instants]
    return f"{name} (validation from {days[0]}, test from {days[1]})" if days else name


def _table(board: Board, scenario: str, rows: list[Row], comparison: Comparison, as_full: frozenset[Cell]) -> str:
    best = rows[0].entry.method
    marked = comparison.same_as(best) - {best}
    columns = [column for column in board_columns() if not is_list_metric(column.metric)]
    hidden = {"full", *columns_as_full(board, as_full)}
    others = [name for name in rows[0].entry.results[0].candidates if name not in hidden]
    body = [
        [
            bold(shown_name(row.entry), row is rows[0]),
            bold(f"{row.figure.mean:.4f} ± {row.figure.half_width:.4f}", row is rows[0])
            + ("†" if row.entry.method in marked else ""),
            *(cell(row.entry, column) for column in columns),
            *(
                _AS_FULL
                if (scenario, row.entry.method, name) in as_full
                else cell(row.entry, Column(name, name, "ndcg@10"))
                for name in others
            ),
        ]
        for row in rows
    ]
    headings = ["method", "NDCG@10", *(column.heading for column in columns), *(f"NDCG@10, {n}" for n in others)]
    for method, status in failed_methods(board, scenario).items():
        body.append([escaped(method), status, *["–"] * (len(headings) - 2)])
    return table(headings, body)
