"""The tables of the page, from the functions that boards are made of."""

from collections.abc import Mapping, Sequence

import numpy as np

from harness.protocol.metrics import is_list_metric
from harness.report.collect import Board, Entry
from harness.report.columns import Column as Measure
from harness.report.columns import board_columns
from harness.report.comparison import MAIN, Comparison, Gain, Pair, compare_over_scenarios
from harness.report.failures import failed_methods
from harness.report.overview import ranks_and_groups
from harness.report.page.content import Cell, Column, Table
from harness.report.page.markup import inline
from harness.report.rows import Row, has_default_settings, is_scored_outside

#: Id of the card by scenario and method.
CardIds = Mapping[tuple[str, str], str]

_NONE = Cell("–")


def shown_method(entry: Entry) -> str:
    """A method's name as plain text, with the marks that boards explain."""
    marks = "§" * is_scored_outside(entry) + "‡" * has_default_settings(entry)
    return entry.method + (f" {marks}" if marks else "")


def overview_table(board: Board, cards: CardIds, table_id: str) -> tuple[Table, tuple[str, ...]]:
    """NDCG@10 by method and scenario, the best mean first, and the methods of its rows."""
    means: dict[str, dict[str, float]] = {}
    names: dict[str, str] = {}
    for scenario, entries in board.scenarios.items():
        for entry in entries:
            means.setdefault(entry.method, {})[scenario] = entry.mean(*MAIN) or 0.0
            names[entry.method] = max(names.get(entry.method, ""), shown_method(entry), key=len)
    failed = {scenario: failed_methods(board, scenario) for scenario in board.scenarios}
    for method in (method for methods in failed.values() for method in methods):
        means.setdefault(method, {})
        names.setdefault(method, method)
    average = {m: float(np.mean([of.get(scenario, 0.0) for scenario in board.scenarios])) for m, of in means.items()}
    best = {s: max((of[s] for of in means.values() if s in of), default=None) for s in board.scenarios}
    ranked = ranks_and_groups(compare_over_scenarios(board))
    methods = sorted(means, key=lambda method: (-average[method], method))
    rows = []
    for method in methods:
        of = means[method]
        figures = [
            Cell(f"{of[s]:.4f}", cards[s, method], of[s] == best[s])
            if s in of
            else Cell(inline(failed[s].get(method, "–")))
            for s in board.scenarios
        ]
        mean = Cell(f"{average[method]:.4f}") if len(of) == len(board.scenarios) else _NONE
        place = [Cell(text) for text in ranked.get(method, ("–", "–"))] if ranked else []
        rows.append((Cell(names[method]), *figures, mean, *place))
    columns = (
        Column("method", is_number=False),
        *(Column(scenario) for scenario in (*board.scenarios, "mean")),
        *((Column("rank"), Column("group", is_number=False)) if ranked else ()),
    )
    caption = f"NDCG@10 of {board.suite}/v{board.version} by method and scenario: full candidates, all users"
    return Table(table_id, caption, columns, tuple(rows)), tuple(methods)


def scenario_table(
    board: Board, scenario: str, rows: Sequence[Row], comparison: Comparison, cards: CardIds, table_id: str
) -> Table:
    """The methods of a scenario, the best first; columns without any figure are left out."""
    best = rows[0].entry.method
    marked = comparison.same_as(best) - {best}
    others = dict.fromkeys(name for row in rows for name in row.entry.results[0].candidates if name != MAIN[0])
    measures = [m for m in board_columns() if (m.candidates, m.metric, m.slice) != (*MAIN, "all")]
    measures += [Measure(name, name, MAIN[1]) for name in others]
    measures.sort(key=lambda measure: is_list_metric(measure.metric))
    texts = {measure: [_mean(row.entry, measure) for row in rows] for measure in measures}
    used = [measure for measure in measures if any(text != "–" for text in texts[measure])]
    failed = failed_methods(board, scenario)
    body = [
        (
            Cell(shown_method(row.entry), cards[scenario, row.entry.method], row is rows[0]),
            Cell(
                f"{row.figure.mean:.4f} ± {row.figure.half_width:.4f}" + ("†" if row.entry.method in marked else ""),
                strong=row is rows[0],
            ),
            *(Cell(texts[measure][number]) for measure in used),
        )
        for number, row in enumerate(rows)
    ]
    body += [(Cell(method), Cell(inline(status)), *[_NONE] * len(used)) for method, status in failed.items()]
    columns = (Column("method", is_number=False), Column("NDCG@10"), *(Column(heading_of(m)) for m in used))
    return Table(table_id, f"Methods on {scenario}, the best first", columns, tuple(body))


def heading_of(measure: Measure) -> str:
    """A column's heading: the metric, and what it differs in from full candidates and all users."""
    metric = measure.metric.capitalize() if is_list_metric(measure.metric) else measure.metric.upper()
    parts = [metric, *([measure.slice] if measure.slice != "all" else [])]
    return ", ".join([*parts, *([measure.candidates] if measure.candidates != MAIN[0] else [])]).replace("_", " ")


def gain_table(
    gains: Mapping[str, Mapping[Pair, Gain]], caption: str, table_id: str, cards: Mapping[str, str]
) -> Table:
    """Gains over the reference, the largest first.

    Args:
        gains: by candidate set, the first of which orders the rows.
        caption: of the table.
        table_id: id of its element.
        cards: id of the card by method.
    """
    main = next(iter(gains.values()))
    rows = []
    for pair, gain in sorted(main.items(), key=lambda item: (-item[1].figure.mean, item[0])):
        rows.append(
            (
                Cell(pair[0], cards.get(pair[0], "")),
                Cell(pair[1], cards.get(pair[1], "")),
                *(_gain(of.get(pair)) for of in gains.values()),
                Cell("yes" if gain.is_found else "no"),
                Cell(f"{(gain.users > 0).mean():.1%}"),
                Cell(f"{(gain.users < 0).mean():.1%}"),
            )
        )
    columns = (
        Column("method", is_number=False),
        Column("against", is_number=False),
        *(Column("gain" if name == MAIN[0] else f"gain, {name}") for name in gains),
        Column("differs from 0", is_number=False),
        Column("users helped"),
        Column("users hurt"),
    )
    return Table(table_id, caption, columns, tuple(rows))


def _mean(entry: Entry, measure: Measure) -> str:
    mean = entry.mean(measure.candidates, measure.metric, measure.slice)
    return "–" if mean is None else f"{mean:.4f}"


def _gain(gain: Gain | None) -> Cell:
    if gain is None:
        return _NONE
    return Cell(f"{gain.figure.mean:+.4f} ± {gain.figure.half_width:.4f}", strong=gain.is_found)
