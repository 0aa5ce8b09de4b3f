"""The overviews of boards inside a README: between `<!-- leaderboard: cdsr -->` and `<!-- end -->`."""

import re
from collections.abc import Callable
from pathlib import Path

from harness.errors import HarnessError

_TABLE = re.compile(r"(<!-- leaderboard: (?P<suite>[^\s>]+) -->\n).*?(^<!-- end -->)", re.DOTALL | re.MULTILINE)
_START = "<!-- leaderboard:"


def suites_shown(text: str) -> list[str]:
    """Names of the suites whose overview a text shows."""
    return [found["suite"] for found in _TABLE.finditer(text)]


def with_overviews(path: Path, overview: Callable[[str], str | None]) -> str:
    """The text of a README with its overviews made anew.

    Args:
        path: of the README.
        overview: the table of a suite by its name; None for one to leave as it is.

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

    def replaced(found: re.Match[str]) -> str:
        table = overview(found["suite"])
        return found[0] if table is None else f"{found[1]}{table}\n{found[3]}"

    return _TABLE.sub(replaced, text)
