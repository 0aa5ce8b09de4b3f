"""A table of how the methods of a board were trained and tuned."""

from typing import Any

import numpy as np

from harness.report.collect import Board
from harness.report.markdown import escaped
from harness.report.merging import is_merge
from harness.report.tables import DASH, Cell, folded, make_table
from harness.results.record import RunResult

_HEADINGS = ("trained", "for", "way", "steps", "kept")
_CHOSEN_HEADINGS = ("trained", "settings", "trials")
_DEFAULTS = "defaults"


def training(board: Board) -> list[str]:
    """A section with a row for each training and each choice of settings; empty if there is none."""
    users: dict[tuple[str, ...], set[str]] = {}
    for entry in board.entries:
        for label, row in _rows(entry.results[0]):  # the first seed's
            users.setdefault((label, *row), set()).add(entry.method)
    if not users:
        return []
    rows = sorted([label, ", ".join(sorted(methods)), *row] for (label, *row), methods in users.items())
    lists = [methods for methods in dict.fromkeys(row[1] for row in rows) if len(methods) > 24]
    short = {methods: f"M{number}" for number, methods in enumerate(lists, 1)}
    trained = [
        [folded(label, 48), Cell(short.get(methods, methods)), folded(way, 24), Cell(steps), Cell(kept)]
        for label, methods, way, steps, kept, *_ in rows
    ]
    chosen = [
        [folded(label, 48), folded(settings, 40), folded(trials, 24)]
        for label, _, _, _, _, settings, trials in rows
        if settings != _DEFAULTS
    ]
    lines = [
        "",
        "## How it was trained",
        "",
        "With the first seed. Steps: of the optimiser; kept: after how many of them the weights were taken, by "
        "validation NDCG@10. Products with the catalogue are in float32 or bfloat16, as the machine had it.",
        "",
        make_table("", _HEADINGS, trained).markdown,
        *([""] if short else []),
        *(f"- {letter}: {escaped(methods)}" for methods, letter in short.items()),
    ]
    if chosen:
        lines += [
            "",
            "### Chosen settings: validation NDCG@10 of each trial",
            "",
            make_table("", _CHOSEN_HEADINGS, chosen).markdown,
        ]
    return lines


def _rows(result: RunResult) -> list[tuple[str, list[str]]]:
    chosen = _tuning(result)
    rows = [
        (
            (record.label.rpartition(", seed")[0] or record.label) + _tuned_for(result),
            [
                ", ".join(
                    str(record.notes[note])
                    for note in ("training_path", "products", "arithmetic")
                    if note in record.notes
                )
                or DASH,
                f"{record.steps:,}",
                f"{record.best_step:,}",
                *chosen,
            ],
        )
        for record in result.training
        if not is_merge(record)
    ]
    if not rows and result.tuning is not None:
        rows = [(f"nothing but settings, on {' + '.join(result.tuning.data)}", [*[DASH] * 3, *chosen])]
    return rows


def _tuning(result: RunResult) -> tuple[str, str]:
    if result.tuning is None:
        return _DEFAULTS, DASH
    settings = ", ".join(f"{name.rpartition('.')[2]} {_short(value)}" for name, value in result.tuning.chosen.items())
    trials = ("diverged" if t.validation is None else f"{t.validation:.4f}" for t in result.tuning.trials)
    return settings, ", ".join(trials)


def _tuned_for(result: RunResult) -> str:
    """The target of the settings, where one training of several domains has other settings for each target."""
    shared = result.tuning is not None and len(result.tuning.data) > 1
    return f", for {result.scenario.target}" if shared else ""


def _short(value: Any) -> str:
    return np.format_float_positional(value, trim="-") if isinstance(value, float) else str(value)
