"""Diagnostic tables of a method as markdown, with their curves as images."""

import io
from collections.abc import Sequence
from pathlib import Path

from harness.report.markdown import table
from harness.storage.files import write_atomically
from harness.training.diagnostic_table import DiagnosticTable


def write_diagnosis(title: str, made_by: str, tables: Sequence[DiagnosticTable], path: Path) -> list[Path]:
    """Writes `path` (.md) and a .png for each curve; gives the paths written.

    Args:
        title: of the page.
        made_by: a sentence that names the code.
        tables: with their curves.
        path: of the .md.
    """
    images = []
    lines = [f"# {title}", "", f"Measured on train and validation alone. {made_by}"]
    for number, diagnostic in enumerate(tables, start=1):
        lines += ["", f"## {diagnostic.title}", "", diagnostic.note, ""]
        if diagnostic.drawn is not None:
            image = path.with_name(f"{path.stem}-{number}.png")
            write_atomically(image, _curve(diagnostic, *diagnostic.drawn))
            images.append(image)
            lines += [f"![{diagnostic.title}]({image.name})", ""]
        rows = [[f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row] for row in diagnostic.rows]
        first = diagnostic.rows[0] if diagnostic.rows else diagnostic.headings
        align = ["right" if isinstance(cell, float) else "left" for cell in first]
        lines.append(table(diagnostic.headings, rows, align))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "\n".join(lines) + "\n")
    return [path, *images]


def _curve(diagnostic: DiagnosticTable, horizontal: str, vertical: str, separate: str) -> bytes:
    """A PNG with a curve for each value in the column `separate`."""
    from matplotlib.figure import Figure

    x, y, label = (diagnostic.headings.index(name) for name in (horizontal, vertical, separate))
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(row[label] for row in diagnostic.rows):
        points = [(float(row[x]), float(row[y])) for row in diagnostic.rows if row[label] == name]
        axes.plot(*zip(*points, strict=True), marker="o", label=str(name))
    axes.set(xlabel=horizontal, ylabel=vertical, title=diagnostic.title)
    axes.grid(alpha=0.3)
    axes.legend()
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=150, metadata={"Software": None})
    return image.getvalue()
