"""Overviews of boards inside a README, between `<!-- leaderboard: cdsr -->` and `<!-- end -->`."""

import re
from collections.abc import Callable
from pathlib import Path

from harness.errors import HarnessError

_TABLE = re.compile(r"(<!-- leaderboard: (?P<suite>[^\s>]+) -->\n).*?(^<!-- end -->)", re.DOTALL | re.MULTILINE)
_START = "<!-- leaderboard:"


def suites_shown(text: str) -> list[str]:
    """Names of the suites with an overview in a text."""
    return [match["suite"] for match in _TABLE.finditer(text)]


def with_overviews(path: Path, overview: Callable[[str], str | None]) -> str:
    """The text of a README with new overviews.

    Args:
        path: of the README.
        overview: gives the table of a suite by name; None to keep the table in the file.

    Raises:
        HarnessError: the file cannot be read, or a marker has no end.
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
        return match[0] if table is None else f"{match[1]}{table}\n{match[3]}"

    return _TABLE.sub(replaced, text)
