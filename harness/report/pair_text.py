"""The comparison of two sides as markdown, as JSON values and as a plot."""

import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.protocol.significance import LEVEL
from harness.report.markdown import bold, escaped, table
from harness.report.pair import Difference, PairComparison
from harness.storage.files import write_atomically


def pair_text(pair: PairComparison) -> str:
    """Markdown: what was found, a table by scenario, one by slice and candidate set, and notes."""
    a, b, metric = escaped(pair.sides.a.label), escaped(pair.sides.b.label), _shown(pair.metric)
    several = len(pair.by_scenario) > 1
    rows = [*pair.by_scenario, *([pair.mean] if pair.mean else [])]
    lines = [
        f"# {a} against {b} on {escaped(pair.sides.of)}",
        "",
        _finding(pair),
        "",
        f"Difference: {metric} of {a} less that of {b}, mean over users and seeds, ± the half-width of its 95 % "
        f"interval. Won: share of users with a higher {metric}, mean over seeds, with {a}; lost: with {b}; level: the "
        f"rest. {_tests(pair)}",
        "",
        f"## By scenario, among {escaped(pair.candidates)}" if several else f"## {escaped(pair.sides.scenarios[0])}",
        "",
        _table(pair, rows, ["scenario"], [[escaped(row.scenario or "mean")] for row in rows]),
        "",
        f"## By candidate set and slice{', mean over scenarios' if several else ''}",
        "",
        _table(
            pair,
            pair.by_slice,
            ["candidates", "slice"],
            [[escaped(row.candidates), escaped(row.slice)] for row in pair.by_slice],
        ),
    ]
    if pair.notes:
        lines += ["", *(f"- {escaped(note)}" for note in pair.notes)]
    return "\n".join(lines)


def pair_json(pair: PairComparison) -> dict[str, Any]:
    """The comparison as JSON values."""
    return {
        "a": pair.sides.a.label,
        "b": pair.sides.b.label,
        "of": pair.sides.of,
        "metric": pair.metric,
        "candidates": pair.candidates,
        "by_scenario": [_row_json(row) for row in pair.by_scenario],
        "mean": _row_json(pair.mean) if pair.mean else None,
        "by_slice": [_row_json(row) for row in pair.by_slice],
        "notes": list(pair.notes),
    }


def plot_pair(pair: PairComparison, path: Path) -> None:
    """Draw the differences with their intervals, by scenario and by slice.

    Args:
        pair: the comparison.
        path: of a .svg, .png or .pdf; see `check_plot`.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    scenarios = [(row.scenario or "mean", row) for row in (*pair.by_scenario, *([pair.mean] if pair.mean else []))]
    slices = [(f"{row.candidates}, {row.slice}", row) for row in pair.by_slice]
    height = 1.6 + 0.32 * (len(scenarios) + len(slices))
    figure = Figure(figsize=(8, height), layout="constrained")
    parts = figure.subplots(2, 1, sharex=True, height_ratios=[len(scenarios), max(1, len(slices))])
    for axes, rows in zip(parts, (scenarios, slices), strict=True):
        for place, (_, row) in enumerate(rows):
            colour = "C0" if _is_found(row) else "0.55"
            axes.errorbar(row.figure.mean, place, xerr=row.figure.half_width, fmt="o", color=colour, capsize=3)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="x", alpha=0.3)
    parts[0].set_title(f"{pair.sides.a.label} less {pair.sides.b.label}, {pair.sides.of}", fontsize="medium")
    one_seed = pair.main.p_value is None
    meaning = "users only" if one_seed else f"seeds and users; blue: corrected p below {LEVEL:g}"
    figure.supxlabel(f"Difference in {_shown(pair.metric)}, 95 % interval over {meaning}", fontsize="small")
    image = io.BytesIO()
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix, {"Software": None})
    with mpl.rc_context({"svg.hashsalt": "harness"}):  # the same file for the same comparison
        figure.savefig(image, format=path.suffix[1:], dpi=150, metadata=metadata)
    write_atomically(path, image.getvalue())


def _finding(pair: PairComparison) -> str:
    """The main difference in one sentence."""
    main, a, b = pair.main, escaped(pair.sides.a.label), escaped(pair.sides.b.label)
    where = f"In the mean over {len(pair.by_scenario)} scenarios" if pair.mean else f"On {escaped(main.scenario or '')}"
    figure = f"{_shown(pair.metric)} {_mean(main.a)} and {_mean(main.b)}, difference {_signed(main)}"
    if main.p_value is None:
        return f"{where}, nothing is tested: {figure}."
    if not _is_found(main):
        return f"{where}, **{a} and {b} cannot be told apart**: {figure}, p {_p(main.corrected)}."
    better, worse = (a, b) if main.figure.mean > 0 else (b, a)
    return f"{where}, **{better} is better than {worse}**: {figure}, p {_p(main.corrected)}."


def _tests(pair: PairComparison) -> str:
    if pair.main.p_value is None:
        seeds = "One training of each is compared" if pair.sides.single else "They have one seed in common"
        return (
            f"{seeds}, so ± is over users only and there is no p-value: two trainings of one method differ by more "
            "than users say."
        )
    spread = ", whose spread is estimated from all rows of the board" if pair.sides.board else ""
    mean = "; the mean is a test of its own, in which a person of several scenarios counts once" if pair.mean else ""
    return (
        f"Intervals and tests are over users and seeds{spread}. p: two-sided randomisation test, corrected over the "
        f"rows of its table by Holm's method{mean}. **Bold**: p below {LEVEL:g}."
    )


def _table(
    pair: PairComparison, rows: Sequence[Difference], headings: Sequence[str], names: Sequence[Sequence[str]]
) -> str:
    a, b = escaped(pair.sides.a.label), escaped(pair.sides.b.label)
    tested = any(row.corrected is not None for row in rows)
    body = [
        [
            *own,
            _mean(row.a),
            _mean(row.b),
            bold(_signed(row), _is_found(row)),
            *([_p(row.corrected)] if tested else []),
            *(f"{share:.1%}" for share in (row.won, row.lost, row.level)),
            f"{row.users:,}",
            str(row.seeds),
        ]
        for own, row in zip(names, rows, strict=True)
    ]
    columns = [*headings, a, b, "difference", *(["p"] if tested else []), "won", "lost", "level", "users", "seeds"]
    return table(columns, body, [*["left"] * len(headings), *["right"] * (len(columns) - len(headings))])


def _is_found(row: Difference) -> bool:
    return row.corrected is not None and row.corrected < LEVEL


def _mean(value: float) -> str:
    """A mean to four digits; versions of numpy add in other orders, which must not decide how a tie is rounded."""
    return f"{round(value, 12):.4f}"


def _signed(row: Difference) -> str:
    return f"{row.figure.mean:+.4f} ± {row.figure.half_width:.4f}"


def _p(p_value: float | None) -> str:
    if p_value is None:
        return "–"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _shown(metric: str) -> str:
    return metric.upper()


def _row_json(row: Difference) -> dict[str, Any]:
    values = asdict(row)
    figure = values.pop("figure")
    return {**values, "level": row.level, "difference": figure["mean"], "half_width": figure["half_width"]}
