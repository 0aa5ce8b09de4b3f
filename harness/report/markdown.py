"""Markdown for reports: tables, bold cells, and escaped names and messages."""

import re
from collections.abc import Sequence

from tabulate import tabulate

from harness.errors import one_line


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], align: Sequence[str] | None = None) -> str:
    """A markdown table of finished text.

    Args:
        headings: of the columns.
        rows: a cell for each heading.
        align: `left` or `right` for each column. None: the first is left, the others right.
    """
    align = align or ["left", *["right"] * (len(headings) - 1)]
    # tabulate must not read cells as numbers and print them its own way.
    return tabulate(rows, headings, tablefmt="pipe", disable_numparse=True, colalign=align)


def bold(text: str, is_bold: bool = True) -> str:
    """A text in bold, if it is to be."""
    return f"**{text}**" if is_bold else text


def escaped(text: str) -> str:
    r"""A text that is shown as it is, on one line: no character of it starts markup or ends a table's cell.

    >>> escaped("a|b\n[bold]")
    'a\\|b \\[bold\\]'
    """
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", one_line(text))
