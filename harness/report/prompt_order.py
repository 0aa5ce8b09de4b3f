"""What the order of candidates in a prompt changes, for methods that show a language model its candidates."""

from collections.abc import Sequence

import numpy as np

from harness.report.collect import Board, Entry
from harness.report.markdown import escaped
from harness.report.rows import shown_name
from harness.report.tables import Cell, make_table

_HEADINGS = ("method", "candidates", "users", "Kendall's τ", "other first item", "shown in the first third")
_NOTE = (
    "Each user sees the candidates in a random order; some were also ranked with a second one. Kendall's τ of both "
    "rankings is 1 if the order changes nothing, and 0 if they are unrelated. *Other first item*: the share of these "
    "users whose best item changes. *Shown in the first third*: the share whose best item stands in the first third of "
    "the prompt; a third, if places do not matter. Means over users and seeds."
)


def prompt_order(board: Board) -> list[str]:
    """A section with a table for each scenario; empty if no method reports it."""
    lines = []
    for scenario, entries in board.scenarios.items():
        if rows := [row for entry in entries for row in _rows(entry)]:
            table = make_table("", _HEADINGS, rows)
            lines += ["", f"### Order of candidates: {escaped(scenario)}", "", table.markdown]
    return ["", "## Order of candidates in the prompt", "", _NOTE, *lines] if lines else []


def _rows(entry: Entry) -> list[Sequence[Cell]]:
    """A row for each candidate set."""
    reported = [result.prompt_order for result in entry.results if result.prompt_order]
    rows: list[Sequence[Cell]] = []
    for name in dict.fromkeys(name for orders in reported for name in orders):
        orders = [of_seed[name] for of_seed in reported if name in of_seed]
        users = [order["users"] for order in orders]
        tau, other, third = (
            float(np.average([order[key] for order in orders], weights=users))
            for key in ("kendall_tau", "other_first", "first_third")
        )
        texts = (shown_name(entry), name, f"{sum(users):,.0f}", f"{tau:.2f}", f"{other:.0%}", f"{third:.0%}")
        rows.append([Cell(text) for text in texts])
    return rows
