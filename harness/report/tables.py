"""Tables of a board before they are printed as markdown or LaTeX."""

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.protocol.significance import MeanInterval
from harness.report.markdown import escaped
from harness.report.markdown import table as markdown_table

#: A cell without a value.
DASH = "–"
#: Characters of text in a line of a table that GitHub shows without scrolling.
WIDTH = 120


@dataclass(frozen=True)
class Cell:
    """A cell's text, without markup and with its line breaks, and how it is set."""

    text: str
    style: Literal["plain", "bold", "italic"] = "plain"

    @property
    def markdown(self) -> str:
        """The cell as markdown."""
        mark = {"plain": "", "bold": "**", "italic": "*"}[self.style]
        return f"{mark}{'<br>'.join(map(escaped, self.lines))}{mark}"

    @property
    def lines(self) -> list[str]:
        """The lines of the text."""
        return self.text.split("\n")


def folded(text: str, width: int) -> Cell:
    """A cell whose text is broken between words into lines of about a width."""
    return Cell("\n".join(textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)))


def bold_if(text: str, is_bold: bool) -> Cell:
    """A cell that is bold or plain."""
    return Cell(text, "bold" if is_bold else "plain")


def figures(means: Sequence[float | None], best_in_bold: bool = False) -> list[Cell]:
    """Cells with four digits; a dash for None. The highest is bold on request, and all that equal it."""
    highest = max((mean for mean in means if mean is not None), default=None)
    return [
        Cell(DASH) if mean is None else bold_if(f"{mean:.4f}", best_in_bold and math.isclose(mean, highest or 0.0))
        for mean in means
    ]


def interval(figure: MeanInterval) -> str:
    """A mean and the half-width of its interval."""
    return f"{figure.mean:.4f} ± {figure.half_width:.4f}"


def signed(figure: MeanInterval | None) -> str:
    """A gain and the half-width of its interval; a dash for None."""
    return DASH if figure is None else f"{figure.mean:+.4f} ± {figure.half_width:.4f}"


@dataclass(frozen=True)
class Table:
    """A table whose first column names its rows.

    Attributes:
        title: names candidate set, slice and metric, as far as the headings do not.
        headings: of the columns, without markup.
        rows: a cell for each heading.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @property
    def width(self) -> int:
        """Characters of text in its widest line: the widest cell of each column, and the space around it."""
        rows = [tuple(map(Cell, self.headings)), *self.rows]
        return sum(max(len(line) for cell in column for line in cell.lines) + 3 for column in zip(*rows, strict=True))

    @property
    def markdown(self) -> str:
        """The table as markdown, without its title; words are set left, figures right."""
        align = ["left", *("right" if _is_of_figures(column) else "left" for column in self._columns[1:])]
        headings = [escaped(heading) for heading in self.headings]
        return markdown_table(headings, [[cell.markdown for cell in row] for row in self.rows], align)

    @property
    def _columns(self) -> list[tuple[Cell, ...]]:
        return list(zip(*self.rows, strict=True))

    def columns(self, indices: Iterable[int]) -> "Table":
        """The table with some of its columns."""
        kept = tuple(indices)
        rows = tuple(tuple(row[index] for index in kept) for row in self.rows)
        return replace(self, headings=tuple(self.headings[index] for index in kept), rows=rows)

    def without_empty_columns(self) -> "Table":
        """The table without columns that hold dashes only."""
        used = (index for index in range(1, len(self.headings)) if any(row[index].text != DASH for row in self.rows))
        return self.columns((0, *used))

    def parts(self, width: int = WIDTH) -> list["Table"]:
        """Tables that fit a width, each with the first column and some of the others; several have numbered titles."""
        parts, start = [], 1
        while start < len(self.headings):
            end = len(self.headings)
            while end > start + 1 and self.columns((0, *range(start, end))).width > width:
                end -= 1
            parts.append(self.columns((0, *range(start, end))))
            start = end
        if len(parts) == 1:
            return parts
        return [replace(part, title=f"{part.title}, part {number}") for number, part in enumerate(parts, 1)]


def _is_of_figures(column: Iterable[Cell]) -> bool:
    """Whether most cells with a value start with a digit or a sign."""
    texts = [cell.text for cell in column if cell.text != DASH and cell.style != "italic"]
    return 2 * sum(text.startswith(tuple("+-.0123456789")) for text in texts) > len(texts)


def make_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Table:
    """A table without the columns that hold dashes only."""
    return Table(title, tuple(headings), tuple(map(tuple, rows))).without_empty_columns()
