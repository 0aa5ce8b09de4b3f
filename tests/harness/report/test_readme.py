"""Overviews in a README."""

from pathlib import Path

import pytest
import typer

from harness.cli.leaderboard import leaderboard
from harness.errors import HarnessError
from harness.report.collect import collect
from harness.report.overview import overview
from harness.report.readme import suites_shown, with_overviews
from tests.harness.report.test_leaderboard import run_all

TEXT = """# Mine

<!-- leaderboard: one -->
| old |
<!-- end -->

between

<!-- leaderboard: two -->
<!-- end -->
after
"""


def test_only_tables_between_markers_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(TEXT)
    assert suites_shown(TEXT) == ["one", "two"]
    updated = with_overviews(path, {"one": "| new \\1 |", "two": "| second |"}.get)
    expected = TEXT.replace("| old |", "| new \\1 |").replace("two -->\n", "two -->\n| second |\n")
    assert updated == expected
    path.write_text(updated)
    assert with_overviews(path, {"one": "| new \\1 |", "two": "| second |"}.get) == updated
    assert with_overviews(path, lambda _: None) == updated


BOARD = """| method | x |
|:-------|--:|
| **a** | 0.9 |
| b‡ | 0.8 |
| c | 0.7 |
| d | 0.6 |"""


def test_a_marker_may_select_rows(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("<!-- leaderboard: one: best, c, b -->\n<!-- end -->\n")
    assert suites_shown(path.read_text()) == ["one"]
    table = BOARD.replace("| d | 0.6 |", "").strip()
    assert with_overviews(path, {"one": BOARD}.get) == path.read_text().replace("<!-- end", table + "\n<!-- end")
    path.write_text("<!-- leaderboard: one: best, a, e -->\n<!-- end -->\n")
    with pytest.raises(HarnessError, match=r"README\.md: in a line .*Unknown method 'e'"):
        with_overviews(path, {"one": BOARD}.get)
    assert with_overviews(path, lambda _: None) == path.read_text()


@pytest.mark.parametrize("text", ["<!-- leaderboard: one -->\n| old |\n", TEXT + "<!-- leaderboard: three -->\n"])
def test_a_marker_without_an_end_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(HarnessError, match=r"README\.md: a line .* has no line `<!-- end -->`"):
        with_overviews(path, lambda _: "x")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"Cannot read .*mine\.md"):
        with_overviews(tmp_path / "mine.md", lambda _: "x")


def test_leaderboard_command_updates_and_checks_the_readme(toy, tmp_path: Path, capsys) -> None:
    run_all(toy, methods=("popularity",), seeds=(0,))
    toy.suite = toy.replace(toy.suite, version=2)
    results = run_all(toy, methods=("popularity", "fixed"), seeds=(0,))
    readme, elsewhere, earlier = (tmp_path / name for name in ("README.md", "elsewhere.md", "earlier.md"))
    for path in (readme, elsewhere):
        path.write_text("# Mine\n<!-- leaderboard: toy -->\n<!-- end -->\n")
    leaderboard(output_dir=toy.out)
    # The README has the newest version's overview.
    table = overview(collect(results, "toy", 2)).summary.markdown
    assert "| fixed" in table
    assert readme.read_text() == f"# Mine\n<!-- leaderboard: toy -->\n{table}\n<!-- end -->\n"
    leaderboard(output_dir=toy.out, check=True)
    leaderboard(output_dir=toy.out, readme=elsewhere)
    assert elsewhere.read_text() == readme.read_text()
    # A marker with a version has that version's overview.
    earlier.write_text("<!-- leaderboard: toy/v1: best, popularity -->\n<!-- end -->\n")
    leaderboard(output_dir=toy.out, readme=earlier)
    assert (
        earlier.read_text().partition("\n")[2]
        == f"{overview(collect(results, 'toy', 1)).summary.markdown}\n<!-- end -->\n"
    )
    readme.write_text(readme.read_text().replace("0.", "1.", 1))
    capsys.readouterr()
    with pytest.raises(typer.Exit):
        leaderboard(output_dir=toy.out, check=True)
    assert f"{readme}: differs from what its results give" in capsys.readouterr().out
    # A file without markers is unchanged.
    readme.write_text("# Mine\n")
    leaderboard(output_dir=toy.out)
    assert readme.read_text() == "# Mine\n"
