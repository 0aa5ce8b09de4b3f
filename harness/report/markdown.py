"""Names and messages as markdown text."""

import re

from harness.errors import one_line


def escaped(text: str) -> str:
    r"""A text that is shown as it is, on one line: no character of it starts markup or ends a table's cell.

    >>> escaped("a|b\n[bold]")
    'a\\|b \\[bold\\]'
    """
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", one_line(text))
