"""Tables and plots of domain statistics."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.data.domain import Domain
from harness.data.statistics import DomainOverlap, DomainStatistics, lengths, popularity
from harness.data.times import as_day
from harness.errors import HarnessError
from harness.report.markdown import table
from harness.storage.files import write_atomically

PLOT_FORMATS = (".png", ".svg", ".pdf")


def description_table(descriptions: Sequence[DomainStatistics]) -> str:
    """The dataset statistics that papers print, one row per domain."""
    rows = [
        [
            d.name,
            f"{d.users:,}",
            f"{d.items:,}",
            f"{d.interactions:,}",
            f"{d.mean_length:.2f}",
            f"{d.median_length:g}",
            f"{d.density:.4%}",
            f"{d.mean_tokens:.1f}",
            f"{d.without_text:,}",
            f"{d.duplicate_texts:,}",
            "none" if d.first is None or d.last is None else f"{as_day(d.first)} to {as_day(d.last)}",
        ]
        for d in descriptions
    ]
    headings = ["domain", "users", "items", "interactions", "mean length", "median", "density", "text tokens",
                "no text", "duplicate texts", "timestamps"]  # fmt: skip
    return table(headings, rows)


def shared_table(pairs: Sequence[DomainOverlap]) -> str:
    """Overlap of domains, one row per pair; a dash where ids cannot be compared."""
    rows = [[f"{p.left}, {p.right}", _count(p.users), _count(p.items), _count(p.texts)] for p in pairs]
    return table(["domains", "shared users", "shared items", "shared texts"], rows)


def check_plot(path: Path) -> None:
    """Checks the format of a plot before the work starts.

    Raises:
        HarnessError: the file's name ends in none of the formats that can be drawn.
    """
    if path.suffix not in PLOT_FORMATS:
        raise HarnessError(f"Cannot draw into {path}.", f"End its name in one of {', '.join(PLOT_FORMATS)}.")


def plot_distributions(domains: Sequence[Domain], path: Path) -> None:
    """Draws the distributions of history lengths and item popularity, one line per domain.

    Raises:
        HarnessError: the file's name ends in none of .png, .svg, .pdf, or it cannot be written.
    """
    check_plot(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for domain in domains:
        sorted_lengths = lengths(domain)
        share = 1 - np.arange(len(sorted_lengths)) / len(sorted_lengths)
        left.plot(sorted_lengths, share, label=domain.name)
        counts = popularity(domain)
        right.plot(np.arange(1, len(counts) + 1) / len(counts), np.cumsum(counts) / counts.sum(), label=domain.name)
    left.set(xscale="log", yscale="log", xlabel="interactions of a user, n", ylabel="share of users with n or more")
    right.set(xlabel="share of items, most popular first", ylabel="share of interactions", xlim=(0, 1), ylim=(0, 1))
    for axes in (left, right):
        axes.grid(alpha=0.3)
    left.legend()
    image = io.BytesIO()
    figure.savefig(image, format=path.suffix[1:], dpi=150)
    write_atomically(path, image.getvalue())


def _count(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"
