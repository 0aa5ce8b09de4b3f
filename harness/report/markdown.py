"""Markdown for reports: tables, bold cells, escaped names and messages, and lines that fit a screen."""

import re
import textwrap
from collections.abc import Iterable, Sequence

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


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading.

    >>> anchor("drama-from-action+comedy: full catalogue")
    'drama-from-actioncomedy-full-catalogue'
    """
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def contents(lines: Iterable[str]) -> str:
    """A line of links to the sections with a heading of the second level."""
    headings = [heading for line in lines if (heading := line.removeprefix("## ")) != line]
    links = (f"[{heading.partition(': ')[0]}](#{anchor(heading)})" for heading in headings)
    return f"Contents: {' · '.join(links)}"


#: A word that would start a list, a heading, a quotation or a table at the start of a line.
_MARKER = re.compile(r" (?=(?:[-+*#>|=]+|\d+[.)])(?: |$))")


def wrapped(lines: Iterable[str], width: int = 120) -> str:
    """A page whose paragraphs and list items have lines of at most a width; tables and headings stay as they are."""
    page = []
    for line in "\n".join(lines).split("\n"):
        if line.startswith(("|", "#")):
            page.append(line)
            continue
        indent = "  " if line.startswith("- ") else ""
        glued = _MARKER.sub("\0", line)
        broken = textwrap.wrap(glued, width, break_long_words=False, break_on_hyphens=False, subsequent_indent=indent)
        page.append("\n".join(broken).replace("\0", " "))
    return "\n".join(page) + "\n"
