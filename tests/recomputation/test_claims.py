"""Every gain on the pages of claims, computed anew from ranks."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.recomputation.figures import interval, spread, tables
from tests.recomputation.test_boards import ROOT, Board, board, numbers, plain


def page_of(suite: str) -> Board:
    name, version = suite.split("/")
    return board(ROOT / f"{name}-{version}.md")


@pytest.mark.parametrize("path", sorted((ROOT / "claims").glob("*.md")), ids=lambda path: path.stem)
def test_gains_of_claims(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    pairs = {
        section.splitlines()[0].strip(): re.findall(
            r"gain of `(\S+)` over `(\S+)`(?:, users of the slice `(\w+)`)?", section
        )
        for section in text.split("\n## ")[1:]
    }
    checked = 0
    for headings, header, rows in tables(text):
        for method, other, users in pairs[headings[-1]]:
            for row in (dict(zip(header, cells, strict=True)) for cells in rows):
                page, users = page_of(row["suite"]), users or "all"
                methods, block = page.overall(row["candidates"], users)
                difference = block[methods.index(method)] - block[methods.index(other)]
                mean, half_width = interval(difference, spread(block))
                page.check(row["gain"], mean, half_width, where=row)
                above = [
                    page.mean(scenario, method, row["candidates"], users=users)
                    > page.mean(scenario, other, row["candidates"], users=users) + 1e-9
                    for scenario in page.scenarios
                ]
                page.check(row["above 0"], sum(above), len(above), where=row)
                page.check(row["seeds"], block.shape[1], where=row)
                if block.shape[1] == 1 or abs(mean) < half_width / 2:
                    assert plain(row["verdict"]) == "cannot be told"
                elif abs(mean) > 2 * half_width:
                    assert plain(row["verdict"]) == ("holds" if mean > 0 else "does not hold")
                checked += 1
    assert checked


def test_ratios_of_scoring_times() -> None:
    text = (ROOT / "claims" / "weaverec.md").read_text(encoding="utf-8")
    (rows,) = ((header, rows) for _, header, rows in tables(text) if "runs" in header)
    for row in (dict(zip(rows[0], cells, strict=True)) for cells in rows[1]):
        page = page_of(row["suite"])
        logs = [
            np.log(
                results["weaverec"][seed].record["cost"]["score_s"]
                / results["target-only"][seed].record["cost"]["score_s"]
            )
            for results in page.suite.scenarios.values()
            for seed in results["weaverec"]
        ]
        assert numbers(row["runs"]) == [len(logs)]
        assert numbers(row["scoring time, ratio"])[0] == pytest.approx(float(np.exp(np.mean(logs))), abs=0.0051)


def test_overviews_in_the_readme() -> None:
    text = (ROOT.parent / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"<!-- leaderboard: (\S+/v\d+).*?-->(.*?)<!-- end -->", text, flags=re.DOTALL)
    assert blocks
    for suite, block in blocks:
        page = page_of(suite)
        for _, header, rows in tables(block):
            for row in (dict(zip(header, cells, strict=True)) for cells in rows):
                method = plain(row["method"])
                for heading, cell in row.items():
                    if heading in page.suite.scenarios:
                        page.check(cell, page.mean(heading, method), where=(method, heading))
                    elif heading in ("mean", "NDCG@10"):
                        expected = np.mean([page.mean(scenario, method) for scenario in page.scenarios])
                        page.check(cell, float(expected), where=(method, heading))
        assert page.checked
