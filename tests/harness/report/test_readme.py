"""Overviews inside a README."""

from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.report.readme import suites_shown, with_overviews

TEXT = """# Mine

<!-- leaderboard: one -->
| old |
<!-- end -->

between

<!-- leaderboard: two -->
<!-- end -->
after
"""


def test_tables_between_markers_are_replaced_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(TEXT)
    assert suites_shown(TEXT) == ["one", "two"]
    new = with_overviews(path, {"one": "| new \\1 |", "two": "| second |"}.get)
    expected = TEXT.replace("| old |", "| new \\1 |").replace("two -->\n", "two -->\n| second |\n")
    assert new == expected
    path.write_text(new)
    assert with_overviews(path, {"one": "| new \\1 |", "two": "| second |"}.get) == new
    assert with_overviews(path, lambda _: None) == new


@pytest.mark.parametrize("text", ["<!-- leaderboard: one -->\n| old |\n", TEXT + "<!-- leaderboard: three -->\n"])
def test_a_marker_without_its_end_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(HarnessError, match=r"README\.md: a line .* has no line `<!-- end -->`"):
        with_overviews(path, lambda _: "x")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"Cannot read .*mine\.md"):
        with_overviews(tmp_path / "mine.md", lambda _: "x")
