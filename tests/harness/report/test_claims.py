"""Claims of a paper, tested on results."""

from pathlib import Path

import pytest
import yaml

from harness.cli.leaderboard import leaderboard
from harness.errors import HarnessError
from harness.report.claims import Claims, claim_page, read_claims
from harness.report.collect import Board
from tests.harness.report.test_comparison import with_seeds, with_values

CLAIMS = {
    "title": "Claims",
    "source": "A paper",
    "setting": "Everything differs.",
    "suites": ["toy/v1", "other/v2"],
    "claims": [
        {"claim": "Better is better.", "gain": {"of": "better", "over": "base"}, "decide": "Nothing."},
        {"claim": "Base is better.", "gain": {"of": "base", "over": "better"}, "decide": "Nothing."},
        {"claim": "One is better.", "gain": {"of": "one", "over": "two"}, "decide": "Seeds."},
        {"claim": "Nobody is better.", "gain": {"of": "nobody", "over": "two"}, "decide": "A run."},
        {"claim": "It costs as much.", "cost": {"of": "better", "over": "base"}, "decide": "Nothing."},
    ],
}


def with_score_times(board: Board, seconds: dict[str, float]) -> Board:
    for result in board.results:
        object.__setattr__(result.cost, "score_s", seconds[result.method] + result.seed / 100)
    return board


def verdicts(page: str) -> list[str]:
    """The last cell of each claim's first row, or what stands in its place."""
    first_rows = []
    for section in page.split("\n## ")[1:]:
        rows = [line for line in section.split("\n") if line.startswith("| toy/v1")]
        first_rows.append(rows[0].split("|")[-2].strip() if rows else section.split("\n")[4])
    return first_rows


def test_verdicts(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = Claims.model_validate(CLAIMS)
    board = with_score_times(with_values(board, monkeypatch), {"base": 2.0, "better": 2.1, "one": 2.0, "two": 2.0})
    page = claim_page(claims, {"toy/v1": board}.get)
    missing = "No board has both rows."
    assert verdicts(page) == ["holds", "does not hold", "cannot be told", missing, "holds"]
    assert "No results yet: `other/v2`." in page
    slow = with_score_times(board, {"base": 2.0, "better": 4.0, "one": 2.0, "two": 2.0})
    assert verdicts(claim_page(claims, {"toy/v1": slow}.get))[4] == "does not hold"
    one_seed = with_seeds(board, dict.fromkeys(("base", "better", "one", "two"), 1))
    assert verdicts(claim_page(claims, {"toy/v1": one_seed}.get))[:2] == ["cannot be told"] * 2


def test_gains_of_a_slice_are_of_its_users(board: Board) -> None:
    """Equal to the difference of the means that the board prints."""
    test = {"of": "one", "over": "base", "slice": "cold_users"}
    claims = CLAIMS | {"claims": [{"claim": "Cold.", "gain": test, "decide": "More."}]}
    page = claim_page(Claims.model_validate(claims), {"toy/v1": board}.get)
    gains = []
    for entries in board.scenarios.values():
        means = {entry.method: entry.mean("full", "ndcg@10", "cold_users") for entry in entries}
        gains.append(means["one"] - means["base"])
    assert f"| {sum(gains) / len(gains):+.4f} ±" in page.replace("|  ", "| ")


def test_the_page_is_written_and_checked_with_the_boards(
    board: Board,
    toy,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = toy.out / "claims"
    folder.mkdir()
    (folder / "paper.yaml").write_text(yaml.safe_dump(CLAIMS))
    leaderboard(output_dir=toy.out)
    page = folder / "paper.md"
    assert "## 5. It costs as much." in page.read_text()
    leaderboard(output_dir=toy.out, check=True)
    page.write_text(page.read_text().replace("A paper", "Another"))
    with pytest.raises(BaseException, match="1"):
        leaderboard(output_dir=toy.out, check=True)
    assert f"{page}: differs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"suites": ["toy"]}, "suites.0: String should match"),
        ({"claims": [{"claim": "Nothing.", "decide": "All."}]}, "a claim has either `gain` or `cost`"),
        ({"clams": []}, "clams: Extra inputs"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "paper.yaml"
    path.write_text(yaml.safe_dump(CLAIMS | change))
    with pytest.raises(HarnessError, match=message) as error:
        read_claims(path)
    assert str(path) in str(error.value)
