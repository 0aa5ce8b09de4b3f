"""README.md and leaderboards/README.md agree with the results, and stay short."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from harness.report.readme import with_overviews

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHOWN = {"cdsr": "v2", "cdsr-amazon": "v1", "cdsr-llm": "v1"}
FINDINGS = (ROOT / "leaderboards" / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def means() -> dict[str, pd.DataFrame]:
    """Mean NDCG@10 over seeds, by suite: rows (candidates, slice, scenario), a column for each method."""
    return {suite: _means(ROOT / "leaderboards" / "results" / suite / version) for suite, version in SHOWN.items()}


def _means(folder: Path) -> pd.DataFrame:
    results = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*/*-seed*.json")]
    frame = pd.DataFrame(
        {
            "candidates": candidates,
            "slice": name,
            "scenario": result["scenario"]["name"],
            "method": result["method"],
            "value": metrics["ndcg@10"],
        }
        for result in results
        for candidates, record in result["candidates"].items()
        for name, metrics in (record["metrics"] or {}).items()
    )
    return frame.pivot_table(index=["candidates", "slice", "scenario"], columns="method", values="value")


def wins(frame: pd.DataFrame, rival: str) -> str:
    """In how many scenarios WeaveRec is above another method; a dash if the board lacks that."""
    if rival not in frame:
        return "–"
    return f"{int((frame['weaverec'] > frame[rival]).sum())} of {len(frame)}"


def table(heading: str) -> dict[str, list[str]]:
    """The first table below a heading of the findings: first cell without backticks -> the others."""
    text = re.split(r"^#+ ", FINDINGS.partition(f"# {heading}\n")[2], flags=re.MULTILINE)[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")
    ]
    return {row[0].strip("`"): row[1:] for row in rows}


def test_the_rows_are_those_of_the_board() -> None:
    board = (ROOT / "leaderboards" / "cdsr-v2.md").read_text(encoding="utf-8")
    overview = board.partition("## Overview")[2].partition("\n\n")[2].partition("\n\n")[0].strip()
    assert with_overviews(ROOT / "README.md", lambda suite: overview if suite == "cdsr/v2" else None) == README
    shown = README.partition("<!-- leaderboard: cdsr/v2")[2].partition("<!-- end -->")[0]
    assert len(re.findall(r"^\| (?!method|:-)", shown, re.MULTILINE)) == 7
    # Rows are not wider than the table of all methods.
    assert set(shown.splitlines()[1:]) <= set(overview.splitlines())


def test_wins_and_losses_are_those_of_the_results(means: dict[str, pd.DataFrame]) -> None:
    rows = table("WeaveRec against its rivals")
    assert {"target-only", "naive-merge", "joint"} <= rows.keys()
    for rival, cells in rows.items():
        expected = [
            wins(means[suite].loc[candidates, "all"], rival)
            for suite in ("cdsr", "cdsr-amazon")
            for candidates in ("full", "sampled-30")
        ]
        assert cells == expected, rival
    text = " ".join(README.split())
    for frame in (means["cdsr"].loc[candidates, "all"] for candidates in ("full", "sampled-30")):
        assert f"above `naive-merge` in {wins(frame, 'naive-merge')}" in text
    full, sampled = (means["cdsr"].loc[candidates, "all"] for candidates in ("full", "sampled-30"))
    assert (
        f"above `target-only` in {wins(full, 'target-only')} and {wins(sampled, 'target-only')}, above `joint` in "
        f"{wins(full, 'joint')} and {wins(sampled, 'joint')}"
    ) in text
    full, sampled = (means["cdsr-amazon"].loc[candidates, "all"] for candidates in ("full", "sampled-30"))
    on_amazon = (
        f"in {wins(full, 'naive-merge')} and {wins(full, 'target-only')} on the full catalogue, and in "
        f"{wins(sampled, 'naive-merge')} and {wins(sampled, 'target-only')} among 30 candidates"
    )
    assert on_amazon in text


def test_what_the_loss_is_worth_is_in_the_results(means: dict[str, pd.DataFrame]) -> None:
    mean = means["cdsr"].loc["full", "all"].mean()
    rows = table("What the loss is worth")
    assert len(rows) == 3
    for alone, cells in rows.items():
        together = {"sasrec": "joint-sasrec", "sasrec-masked": "joint-sasrec-masked", "target-only": "joint"}[alone]
        assert cells == [f"{mean[alone]:.4f}", f"`{together}`", f"{mean[together]:.4f}"]
    text = " ".join(README.split())
    assert f"from {mean['sasrec']:.4f} to {mean['sasrec-masked']:.4f}".replace("0.", ".") in text


def test_wins_on_head_and_tail_items_are_those_of_the_results(means: dict[str, pd.DataFrame]) -> None:
    for name, cells in table("Head and tail").items():
        assert cells == [wins(means[suite].loc["full", name], "target-only") for suite in ("cdsr", "cdsr-amazon")]


def test_the_figures_of_both_candidate_sets_are_those_of_the_results(means: dict[str, pd.DataFrame]) -> None:
    frame = means["cdsr-amazon"]
    for target, cells in table("Thirty candidates reverse the order").items():
        expected = []
        for candidates in ("full", "sampled-30"):
            scores = frame.loc[candidates, "all"].filter(like=f"{target}-from-", axis=0)[["sasrec", "target-only"]]
            assert (scores == scores.iloc[0]).all(axis=None)  # they use no source
            row = scores.iloc[0]
            expected += [f"**{score:.4f}**" if score == row.max() else f"{score:.4f}" for score in row]
        assert cells == expected
    difference = frame["sasrec"] - frame["target-only"]
    assert (difference.loc["full", "all"] > 0).all()
    assert (difference.loc["sampled-30", "all"] < 0).all()


def test_what_hashed_ties_cost_is_in_the_table_of_the_experiment() -> None:
    changes = {
        row.split("|")[1].strip(): row.split("|")[7].strip()
        for row in FINDINGS.partition("<!-- order of ties -->")[2].splitlines()
        if row.count("|") == 8
    }
    markov, sasrec = (changes[method].removeprefix("-") for method in ("markov", "sasrec"))
    assert f"a Markov chain scores {markov} lower on Toys, and SASRec {sasrec} lower" in " ".join(README.split())


def test_rules_on_the_components_of_naive_merging_lose_as_often(means: dict[str, pd.DataFrame]) -> None:
    for rule in ("dare", "task-arithmetic", "pruned-merge"):
        for frame in means.values():
            for candidates in ("full", "sampled-30"):
                scores = frame.loc[candidates, "all"]
                if rule not in scores:
                    continue
                assert wins(scores, rule) == wins(scores, "naive-merge"), rule


def test_figures_of_a_language_model_that_reads_prompts(means) -> None:
    rows = table("A language model that reads prompts")
    assert len(rows) == 6
    for method, cells in rows.items():
        for candidates, cell in zip(("sampled-30", "full"), cells, strict=True):
            assert cell.strip("*") == f"{means['cdsr-llm'].loc[(candidates, 'all', 'drama-from-action'), method]:.4f}"


def test_figures_in_sentences_are_on_a_board() -> None:
    """A gain with its interval, such as +.0012 ± .0010, is in a table of transfer."""
    boards = "".join(
        (ROOT / "leaderboards" / f"{name}-{version}.md").read_text(encoding="utf-8") for name, version in SHOWN.items()
    )
    gains = re.findall(r"([+-])(\.\d{4}) ± (\.\d{4})", FINDINGS)
    assert gains
    assert all(f"{sign}0{gain} ± 0{interval}" in boards for sign, gain, interval in gains)


@pytest.mark.parametrize(("text", "words"), [(README, 1000), (FINDINGS, 1100)])
def test_pages_stay_short(text: str, words: int) -> None:
    prose = re.sub(r"^```.*?^```$|^\|.*?$|^<!--.*?-->$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert len(prose.split()) <= words


def test_links_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "leaderboards" / "README.md"]
    for page in pages:
        for link, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text(encoding="utf-8")):
            target = page.parent / link if link else page
            assert target.exists(), f"{page.name}: {link}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
                anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
                assert anchor in anchors, f"{page.name}: {link}#{anchor}"
