"""A diagnosis as markdown, with its curves drawn beside it."""

import io
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from harness.methods.api import DiagnosticTable
from harness.storage.files import write_atomically


def write_diagnosis(title: str, made_by: str, found: Sequence[DiagnosticTable], path: Path) -> list[Path]:
    """Writes `path` (.md) and a .png for each curve; gives what was written.

    Args:
        title: what was diagnosed.
        made_by: by which code, as a sentence.
        found: tables and curves.
        path: of the .md.
    """
    written = []
    lines = [f"# {title}", "", f"Measured on train and validation alone. {made_by}"]
    for number, figures in enumerate(found, start=1):
        lines += ["", f"## {figures.title}", "", figures.note, ""]
        if figures.drawn:
            picture = path.with_name(f"{path.stem}-{number}.png")
            write_atomically(picture, _drawn(figures))
            written.append(picture)
            lines += [f"![{figures.title}]({picture.name})", ""]
        body = [[f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row] for row in figures.rows]
        align = ["right" if isinstance(cell, float) else "left" for cell in figures.rows[0]] if figures.rows else None
        lines.append(tabulate(body, figures.headings, tablefmt="pipe", disable_numparse=True, colalign=align))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "\n".join(lines) + "\n")
    return [path, *written]


def _drawn(figures: DiagnosticTable) -> bytes:
    from matplotlib.figure import Figure

    assert figures.drawn is not None  # noqa: S101 - the caller asks for what is drawn only
    x, y, apart = (figures.headings.index(name) for name in figures.drawn)
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(row[apart] for row in figures.rows):
        own = [row for row in figures.rows if row[apart] == name]
        axes.plot([float(row[x]) for row in own], [float(row[y]) for row in own], marker="o", label=str(name))
    axes.set(xlabel=figures.headings[x], ylabel=figures.headings[y], title=figures.title)
    axes.grid(alpha=0.3)
    axes.legend()
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=150, metadata={"Software": None})
    return drawn.getvalue()
