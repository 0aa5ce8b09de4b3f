"""Overviews of boards inside a README, between `<!-- leaderboard: cdsr/v1 -->` and `<!-- end -->`.

`<!-- leaderboard: cdsr -->`, without a version, shows the newest version with results.
`<!-- leaderboard: cdsr/v1: best, sasrec, weaverec -->` shows some rows only: the best one, and those of the named
methods.
"""

import re
from collections.abc import Callable
from pathlib import Path

from harness.errors import HarnessError

_TABLE = re.compile(
    r"(<!-- leaderboard: (?P<suite>[^\s>:]+)(: (?P<rows>[^\n>]+?))? -->\n).*?(^<!-- end -->)", re.DOTALL | re.MULTILINE
)
_START = "<!-- leaderboard:"
#: Stands for the method of the first row.
_BEST = "best"


def suites_shown(text: str) -> list[str]:
    """The suites with an overview in a text, as its markers name them: `cdsr` or `cdsr/v1`."""
    return [match["suite"] for match in _TABLE.finditer(text)]


def with_overviews(path: Path, overview: Callable[[str], str | None]) -> str:
    """Return the text of a README with new overviews.

    Args:
        path: the README.
        overview: returns the table of a suite as a marker names it, or None to keep the table in the file.

    Raises:
        HarnessError: the file cannot be read, a marker has no end, or it names a method without results.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"Cannot read {path}: {error}.", "Name another file with --readme.") from error
    if text.count(_START) != len(suites_shown(text)):
        raise HarnessError(
            f"{path}: a line `{_START} <suite> -->` has no line `<!-- end -->` after it.", "Add that line."
        )

    def replaced(match: re.Match[str]) -> str:
        table = overview(match["suite"])
        if table is None:
            return match[0]
        if match["rows"]:
            table = _some_rows(table, match["rows"].split(", "), path)
        return f"{match[1]}{table}\n{match[match.lastindex or 0]}"

    return _TABLE.sub(replaced, text)


def _some_rows(table: str, names: list[str], path: Path) -> str:
    """The heading of a table and the rows of some methods, in the table's order."""
    heading, line, *rows = table.split("\n")
    methods = [row.split("|")[1].strip(" *§‡ᴬᴹ") for row in rows]
    kept = {methods[0] if name == _BEST else name for name in names}
    unknown = sorted(kept.difference(methods))
    if unknown:
        error = HarnessError.unknown("method", unknown[0], methods)
        raise HarnessError(f"{path}: in a line `{_START} ...`: {error.what}", error.hint)
    return "\n".join([heading, line, *(row for row, method in zip(rows, methods, strict=True) if method in kept)])
