"""The plots of the page, one function each, made from figures that other modules computed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from markupsafe import Markup
from matplotlib.figure import Figure

from harness.report.comparison import Gain, Pair
from harness.report.page.svg import COLOURS, LEVELS, page_style, to_svg

_WIDTH = 4.9  # inches: what a phone shows without scrolling
_LONGEST = 26  # characters of a label
_ROW = 0.24  # inches a row of labels


@dataclass(frozen=True)
class Point:
    """A method's cost and quality.

    Attributes:
        method: its name.
        cost: CPU-seconds; 0 for nothing trained.
        quality: NDCG@10.
    """

    method: str
    cost: float
    quality: float


@dataclass(frozen=True)
class Curve:
    """A training's validation figures.

    Attributes:
        label: of the training.
        validation: NDCG@10 after each evaluation.
        kept: index of the evaluation whose weights were kept.
        is_capped: whether a cap ended it before validation did.
    """

    label: str
    validation: tuple[float, ...]
    kept: int
    is_capped: bool


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in quality at the same or lower cost, the cheapest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.quality, point.method)):
        if not front or point.quality > front[-1].quality:
            front.append(point)
    return front


def plot_gains(gains: Mapping[Pair, Gain], title: str, prefix: str) -> Markup:
    """Gains with their intervals, the largest on top; full dots differ from 0."""
    ordered = sorted(gains.items(), key=lambda item: (item[1].figure.mean, item[0]))
    several = len({reference for _, reference in gains}) > 1
    with page_style():
        figure = Figure(figsize=(_WIDTH, 0.7 + _ROW * len(ordered)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, color=COLOURS["muted"], linewidth=1)
        for row, (_, gain) in enumerate(ordered):
            colour = COLOURS[("good" if gain.figure.mean > 0 else "warn") if gain.is_found else "muted"]
            axes.errorbar(
                gain.figure.mean,
                row,
                xerr=gain.figure.half_width,
                fmt="o",
                markersize=5,
                color=colour,
                markerfacecolor=colour if gain.is_found else COLOURS["empty"],
            )
        labels = [_label(method) for (method, _), _ in ordered]
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(-0.6, len(labels) - 0.4)
        axes.grid(axis="x")
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel("gain in NDCG@10 over " + ("its reference" if several else ordered[0][0][1]))
    largest, smallest = ordered[-1], ordered[0]
    return to_svg(
        figure,
        title,
        f"Dots with 95 % intervals for {len(ordered)} methods, from {largest[0][0]} ({largest[1].figure.mean:+.4f}) to "
        f"{smallest[0][0]} ({smallest[1].figure.mean:+.4f}). The figures are in the table below.",
        prefix,
    )


def plot_transfer(
    target: str, sources: Sequence[str], gains: Mapping[str, Sequence[Gain | None]], largest: float, prefix: str
) -> Markup:
    """A heat map of gains on one target: a row for each method, a column for each set of sources.

    Args:
        target: its name.
        sources: names of the columns.
        gains: by method, one for each column; None where there is none.
        largest: the gain of the strongest colour, either way.
        prefix: of the ids in it.
    """
    with page_style():
        figure = Figure(figsize=(1.6 + 0.85 * max(len(sources), 2), 0.75 + _ROW * len(gains)), layout="constrained")
        axes = figure.subplots()
        for row, of_method in enumerate(gains.values()):
            for column, gain in enumerate(of_method):
                if gain is None:
                    continue
                mean = gain.figure.mean
                axes.fill(
                    [column, column + 1, column + 1, column],
                    [row, row, row + 1, row + 1],
                    color=LEVELS[level(mean, largest)],
                    linewidth=0,
                )
                axes.text(
                    column + 0.5,
                    row + 0.5,
                    f"{mean:+.4f}" + ("*" if gain.is_found else ""),
                    ha="center",
                    va="center_baseline",
                )
        axes.set_yticks([row + 0.5 for row in range(len(gains))], list(map(_label, gains)))
        axes.set_xticks(
            [column + 0.5 for column in range(len(sources))], [_label(s).replace("+", "+\n") for s in sources]
        )
        axes.xaxis.tick_top()
        axes.tick_params(top=False)
        axes.set(xlim=(0, len(sources)), ylim=(len(gains), 0))
        axes.set_title(f"on {target}, with")
        axes.spines["bottom"].set_visible(False)
    return to_svg(
        figure,
        f"Gains on the target {target}",
        f"A heat map of {len(gains)} methods by {len(sources)} sets of sources. The figures are in the table below.",
        prefix,
    )


def _label(name: str) -> str:
    """A name that leaves room for the plot; the table has it in full."""
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def level(gain: float, largest: float) -> int:
    """The index of a gain's colour, by the root of its share of the largest: small gains differ from none too."""
    share = min(1.0, abs(gain) / largest) if largest else 0.0
    return 3 + round(3 * sqrt(share)) * (1 if gain > 0 else -1)


def level_starts(largest: float) -> tuple[float, ...]:
    """The gains from which on the colour changes."""
    return tuple(largest * ((step - 0.5) / 3) ** 2 for step in (1, 2, 3))


def plot_cost(points: Sequence[Point], title: str, prefix: str) -> Markup:
    """Quality over cost, with the Pareto front as a line and its methods by name."""
    front = pareto_front(points)
    with page_style():
        figure = Figure(figsize=(_WIDTH, 3.6), layout="constrained")
        axes = figure.subplots()
        others = [point for point in points if point not in front]
        axes.plot([p.cost for p in others], [p.quality for p in others], "o", color=COLOURS["muted"], markersize=5)
        axes.plot(
            [p.cost for p in front], [p.quality for p in front], "o-", color=COLOURS["accent"], drawstyle="steps-post"
        )
        axes.set_xscale("symlog", linthresh=1)
        axes.xaxis.set_major_formatter(lambda cost, _: f"{cost:,.0f}")
        axes.set_xlim(-0.3, max(2.0, 2 * max(point.cost for point in points)))
        low, high = min(p.quality for p in points), max(p.quality for p in points)
        height = _label_heights([point.quality for point in front], (high - low or 1.0) / 14)
        axes.set_ylim(low - 0.05 * (high - low), max(high, *height) + 0.1 * (high - low))
        for point, y in zip(front, height, strict=True):
            # Above and left of the front there are no points.
            axes.annotate(
                _label(point.method),
                (point.cost, point.quality),
                xytext=(point.cost, y),
                ha="right" if point.cost > 1 else "left",
                arrowprops={"arrowstyle": "-", "color": COLOURS["muted"], "linewidth": 0.6, "shrinkA": 0},
            )
        axes.grid()
        axes.set(xlabel="CPU-seconds of training (0: nothing is trained)", ylabel="NDCG@10")
    names = ", ".join(f"{point.method} ({point.quality:.4f} for {point.cost:,.0f} s)" for point in front)
    return to_svg(figure, title, f"{len(points)} methods. On the Pareto front: {names}.", prefix)


def _label_heights(heights: Sequence[float], least: float) -> list[float]:
    """Where labels of rising points go, so that each is at least so far above its point and the label before."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height + least, placed[-1] + least) if placed else height + least)
    return placed


def plot_curves(curves: Sequence[Curve], target: str, prefix: str) -> Markup:
    """Validation figures of trainings; those that a cap ended are set off."""
    with page_style():
        figure = Figure(figsize=(3.6, 2.4), layout="constrained")
        axes = figure.subplots()
        for curve in sorted(curves, key=lambda curve: curve.is_capped):
            colour = COLOURS["warn" if curve.is_capped else "accent"]
            numbers = range(1, len(curve.validation) + 1)
            axes.plot(numbers, curve.validation, color=colour, linewidth=1.6 if curve.is_capped else 0.9)
            axes.plot(curve.kept + 1, curve.validation[curve.kept], "o", color=colour, markersize=3.5)
        axes.grid()
        axes.set_title(f"target {target}")
        axes.set(xlabel="evaluation", ylabel="validation NDCG@10")
    capped = sum(curve.is_capped for curve in curves)
    return to_svg(
        figure,
        f"Training curves for the target {target}",
        f"Validation NDCG@10 of {len(curves)} trainings, {capped} of which a cap ended. The dot is what was kept.",
        prefix,
    )


def plot_shares(rows: Mapping[str, Sequence[float]], names: Sequence[str], title: str, prefix: str) -> Markup:
    """Bars of shares between 0 and 1.

    Args:
        rows: by label, a share for each name.
        names: of the kinds of bars, at most two.
        title: of the plot.
        prefix: of the ids in it.
    """
    colours = [COLOURS["accent"], COLOURS["warn"]]
    height = 0.8 / len(names)
    with page_style():
        figure = Figure(figsize=(_WIDTH, 0.9 + _ROW * len(rows) * len(names)), layout="constrained")
        axes = figure.subplots()
        for number, name in enumerate(names):
            places = [row + (number - (len(names) - 1) / 2) * height for row in range(len(rows))]
            shares = [100 * of_row[number] for of_row in rows.values()]
            bars = axes.barh(places, shares, height * 0.85, color=colours[number], label=name)
            axes.bar_label(bars, [f"{share:.1f}" for share in shares], padding=3)
        axes.set_yticks(range(len(rows)), list(map(_label, rows)))
        axes.set(xlim=(0, 108), ylim=(len(rows) - 0.5, -0.5), xlabel="%")
        axes.grid(axis="x")
        figure.legend(loc="outside upper left", ncols=len(names))
    return to_svg(figure, title, f"Bars for {len(rows)} rows. The figures are in the table below.", prefix)
