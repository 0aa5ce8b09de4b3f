"""Tables that fit a page, and committed boards made of them."""

import re
from pathlib import Path

import pytest

from harness.report.markdown import anchor, contents, wrapped
from harness.report.tables import DASH, WIDTH, Cell, figures, folded, make_table

BOARDS = sorted(path for path in Path("leaderboards").rglob("*-v[0-9].md") if "diagnostics" not in path.parts)


def rows(*lines: str) -> list[list[Cell]]:
    return [[Cell(text) for text in line.split()] for line in lines]


def test_columns_of_dashes_are_left_out() -> None:
    table = make_table("", ["method", "a", "b", "c"], rows("x 1 – 2", "y – – 3"))
    assert table.headings == ("method", "a", "c")
    assert [[cell.text for cell in row] for row in table.rows] == [["x", "1", "2"], ["y", DASH, "3"]]


def test_a_wide_table_is_printed_in_parts_with_all_columns() -> None:
    headings = ["method", *(f"column{number}" for number in range(30))]
    table = make_table("all users", headings, rows("x " + "0.1 " * 30))
    parts = table.parts(60)
    assert [part.title for part in parts[:2]] == ["all users, part 1", "all users, part 2"]
    assert all(part.width <= 60 for part in parts)
    assert all(part.headings[0] == "method" for part in parts)
    assert [name for part in parts for name in part.headings[1:]] == headings[1:]
    assert [part.title for part in table.parts(10_000)] == ["all users"]
    # A column that is too wide by itself is printed all the same.
    assert len(make_table("", ["method", "x" * 99], rows("a 1")).parts(20)) == 1


def test_width_is_that_of_the_text() -> None:
    cell = folded("one two three four", 9)
    assert cell.lines == ["one two", "three", "four"]
    assert cell.markdown == "one two<br>three<br>four"
    table = make_table("", ["method", "n"], [[cell, Cell("0.25", "bold")]])
    assert table.width == len("one two") + 3 + len("0.25") + 3
    assert "**0.25**" in table.markdown


def test_the_best_figures_are_bold() -> None:
    assert [cell.style for cell in figures([0.1, None, 0.3, 0.3, 0.29999], True)] == [
        "plain",
        "plain",
        "bold",
        "bold",
        "plain",
    ]
    assert {cell.style for cell in figures([0.1, 0.3])} == {"plain"}


def test_paragraphs_are_wrapped_without_starting_lists() -> None:
    words = "word " * 23 + "- + 1. # | = > end"
    page = wrapped(["# " + "long " * 40, "", words, "- " + "item " * 40, "| " + "cell " * 40 + "|"])
    lines = page.splitlines()
    assert max(len(line) for line in lines if not line.startswith(("#", "|"))) <= 120 + len(" - + 1. # | = > end")
    assert [line for line in lines if re.match(r"([-+#|=>]|1\.) ", line)] == [
        line for line in lines if line.startswith(("# long", "- item", "| cell"))
    ]
    assert " ".join(page.split()).count("word") == 23
    assert [line for line in lines if line.startswith("  item")]


def test_contents_lead_to_headings() -> None:
    line = contents(["## One: a+b", "### Not this", "## Two"])
    assert line == "Contents: [One](#one-ab) · [Two](#two)"


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_committed_boards_fit_a_page(path: Path) -> None:
    heading, table = "", list[list[str]]()
    for line in (*path.read_text(encoding="utf-8").splitlines(), ""):
        if line.startswith("|"):
            table.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
            continue
        assert line.startswith("#") or len(line) <= 120
        if table:
            assert width([row for row in table if not row[0].startswith(":-")]) <= WIDTH, heading
            # No column is all dashes.
            assert all({row[index] for row in table[2:]} != {"–"} for index in range(len(table[0]))), heading
        heading, table = line if line.startswith("#") else heading, []


def width(table: list[list[str]]) -> int:
    """Characters of visible text in the widest line of a table."""
    shown = [[re.sub(r"\*\*|\\", "", cell).split("<br>") for cell in row] for row in table]
    return sum(max(len(line) for cell in column for line in cell) + 3 for column in zip(*shown, strict=True))


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_committed_boards_have_one_heading_a_table_and_a_table_of_contents(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    assert len(set(headings)) == len(headings)
    anchors = {anchor(heading) for heading in headings}
    links = re.findall(r"\]\(#([^)]*)\)", text)
    assert set(links) <= anchors
    assert {anchor(heading) for heading in re.findall(r"^## (.*)$", text, re.MULTILINE)} <= set(links)
    for part in re.split(r"^#+ ", text, flags=re.MULTILINE):
        assert len(re.findall(r"^\|:-", part, re.MULTILINE)) <= 1, part[:60]
    assert BOARDS
