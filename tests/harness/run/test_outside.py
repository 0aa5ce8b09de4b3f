"""Files of scores and lists that other code made: the same figures as our own run, the board, and what is refused."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from harness.data.domain import Catalogue
from harness.errors import HarnessError
from harness.protocol.ranks import MISSED
from harness.protocol.split import LeaveOneOut
from harness.report.collect import collect
from harness.report.leaderboard import leaderboard
from harness.results.files import read_recommendations, read_result
from harness.run.outside import ScoredFile, drawn_tables, score_file
from harness.run.outside_check import Coverage, coverage, match
from harness.run.outside_file import read_scores
from harness.run.scenario_data import open_test, open_training
from tests.conftest import domain_of
from tests.harness.report.test_leaderboard import Fixed
from tests.harness.run.outside_files import Outsider

LEFT = "left-from-right"


@pytest.fixture
def outsider(toy) -> Outsider:
    """The scores of `fixed`, whose own results are on the board."""
    toy.add("fixed", Fixed)
    toy.run("fixed", seeds=(0,), scenarios=[LEFT])
    return Outsider(toy)


def score(toy, path: Path, name: str = "mine", scenario: str = LEFT, **options) -> ScoredFile:
    folders = {"output_dir": toy.out, "cache_dir": toy.cache, "data_dir": toy.cache}
    return score_file(path, toy.suite, scenario, name, console=Console(quiet=True), **folders, **options)


def own(toy, seed: int = 0):
    path = toy.out / "results" / "toy" / "v1" / LEFT / f"fixed-seed{seed}.json"
    return path, *read_result(path)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".run"])
def test_scores_of_the_whole_catalogue_give_the_figures_of_our_own_run_to_the_last_digit(
    toy, outsider, tmp_path: Path, suffix: str
) -> None:
    scored = score(toy, outsider.write(tmp_path / f"all{suffix}"))
    path, result, table = own(toy)
    mine, mine_table = read_result(scored.path)
    for name in ("full", "sampled-10"):
        assert mine.candidates[name].metrics == result.candidates[name].metrics
        assert mine.candidates[name].digest == result.candidates[name].digest
        for part in ("above", "tied", "candidates"):
            np.testing.assert_array_equal(getattr(mine_table.ranks[name], part), getattr(table.ranks[name], part))
    assert mine.candidates["retrieved-15"].absent == "no item vectors to retrieve with"
    lists, mine_lists = (
        read_recommendations(path, result, table.users),
        read_recommendations(scored.path, mine, table.users),
    )
    np.testing.assert_array_equal(mine_lists.items, lists.items)
    assert mine.outside.list_length is None
    assert not mine.outside.lists
    assert mine.outside.missing_users == mine.outside.other_users == 0
    assert mine.outside.history_items == sum(map(len, outsider.histories))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl", ".run"])
def test_lists_give_the_figures_of_our_own_run_up_to_their_length(toy, outsider, tmp_path: Path, suffix: str) -> None:
    scored = score(toy, outsider.write(tmp_path / f"lists{suffix}", length=10))
    _, result, table = own(toy)
    mine, mine_table = read_result(scored.path)
    for slice_name, metrics in result.candidates["full"].metrics.items():
        for metric, value in metrics.items():
            if int(metric.partition("@")[2]) <= 10:
                assert mine.candidates["full"].metrics[slice_name][metric] == value, metric
    above = table.ranks["full"].above
    np.testing.assert_array_equal(mine_table.ranks["full"].above, np.where(above < 10, above, MISSED))
    assert mine.outside.list_length == 10
    assert mine.outside.lists == (suffix != ".run")
    # Ten of the catalogue say nothing about the order of drawn candidates.
    assert mine.candidates["sampled-10"].metrics is None
    assert mine.candidates["sampled-10"].absent == "the file does not score all of its candidates"
    assert mine.candidates["sampled-10"].digest == result.candidates["sampled-10"].digest


def test_lists_of_titles_stand_for_all_items_of_a_title(toy, outsider, tmp_path: Path) -> None:
    path = tmp_path / "titles.jsonl"
    text = dict(zip(outsider.items, outsider.texts, strict=True))
    lines = [{"user_id": user, "titles": [text[i] for i in items]} for user, items in outsider.lists().items()]
    path.write_text("\n".join(map(json.dumps, lines)))
    mine, _ = read_result(score(toy, path).path)
    assert mine.candidates["full"].metrics == own(toy)[1].candidates["full"].metrics


def test_the_score_decides_where_a_file_has_ranks_and_other_columns_too(toy, outsider, tmp_path: Path) -> None:
    """As recommendations of RecTools and LensKit have them."""
    frame = outsider.all_scores().sample(frac=1, random_state=0)
    frame["rank"] = frame.groupby("user_id")["score"].rank().astype(int)
    frame["model"] = "theirs"
    path = tmp_path / "both.csv"
    frame[["model", "rank", "score", "item_id", "user_id"]].to_csv(path, index=False)
    mine, _ = read_result(score(toy, path).path)
    assert mine.candidates["full"].metrics == own(toy)[1].candidates["full"].metrics


def test_a_title_that_several_items_share_stands_for_all_of_them(tmp_path: Path) -> None:
    domain = domain_of([[0, 1, 2, 3], [1, 2, 3, 0]], 5)
    domain = replace(domain, catalogue=Catalogue(domain.catalogue.item_ids, ("a", "b", "b", "c", "c")))
    test, target = LeaveOneOut().test(domain), LeaveOneOut().training(domain)
    path = tmp_path / "titles.jsonl"
    path.write_text('{"user_id": "u0", "titles": ["c", "a"]}\n')
    rows = match(read_scores(path, "jsonl"), list(domain.user_ids), test, target)
    scores = rows.scorer(test, target, is_complete=False).score(test.histories, None)
    np.testing.assert_array_equal(scores, [[-2, -math.inf, -math.inf, -1, -1], [-math.inf] * 5])
    # The history holds items 0 to 2.
    assert coverage(rows, test, 5) == Coverage(None, missing_users=1, history_items=1)


def test_a_held_out_item_that_the_history_holds_is_a_candidate(tmp_path: Path) -> None:
    domain = domain_of([[0, 1, 2, 0]], 4)
    test, target = LeaveOneOut().test(domain), LeaveOneOut().training(domain)
    path = tmp_path / "scores.csv"
    for items, expected in (((0, 3), Coverage(None, 0, 0)), ((0, 1), Coverage(1, 0, 1)), ((3,), Coverage(1, 0, 0))):
        path.write_text("user_id,item_id,score\n" + "".join(f"u0,i{item},{item}\n" for item in items))
        rows = match(read_scores(path, "csv"), list(domain.user_ids), test, target)
        assert coverage(rows, test, 4) == expected


def test_equal_scores_tie_and_an_item_with_minus_infinity_is_a_miss(toy, outsider, tmp_path: Path) -> None:
    frame = outsider.all_scores().assign(score=1.0)
    path = tmp_path / "equal.csv"
    frame.to_csv(path, index=False)
    result, table = read_result(score(toy, path).path)
    expected = np.mean([10 / n for n in table.ranks["full"].candidates])
    assert result.candidates["full"].metrics["all"]["hr@10"] == pytest.approx(expected, abs=1e-12)
    first = outsider.users[0]
    frame["score"] = frame["score"].where(frame["user_id"] != first, -math.inf)
    frame.to_csv(path, index=False)
    _, table = read_result(score(toy, path).path)
    assert table.ranks["full"].above[0] == MISSED
    assert (table.ranks["full"].above[1:] == 0).all()


def test_missing_users_are_misses_and_other_users_are_left_out(toy, tmp_path: Path) -> None:
    # Everything in `left` is earlier than in `right`, so that only `right` can be a target.
    scenario = replace(toy.suite.scenarios[1], name="right-from-left.temporal", split="temporal")
    toy.suite = replace(toy.suite, scenarios=(scenario,))
    temporal = Outsider(toy)
    untested = sorted(set(temporal.all_users) - set(temporal.users))
    assert untested
    frame = temporal.all_scores()
    missing = temporal.users[:2]
    frame = pd.concat(
        [
            frame[~frame["user_id"].isin(missing)],
            pd.DataFrame({"user_id": untested, "item_id": temporal.items[0], "score": 0.5}),
        ]
    )
    path = tmp_path / "some.csv"
    frame.to_csv(path, index=False)
    result, table = read_result(score(toy, path, scenario=scenario.name).path)
    assert (result.outside.missing_users, result.outside.other_users) == (2, len(untested))
    assert (table.ranks["full"].above[:2] == MISSED).all()
    assert (table.ranks["sampled-10"].above[:2] == MISSED).all()
    assert result.candidates["full"].unscored == result.candidates["sampled-10"].unscored == 2
    assert len(table.users) == len(temporal.users)


def test_drawn_candidates_have_a_file_of_their_own(toy, outsider, tmp_path: Path) -> None:
    full, drawn = outsider.write(tmp_path / "lists.csv", length=20), tmp_path / "drawn.csv"
    candidates = drawn_candidates(toy)
    frame = outsider.all_scores().merge(candidates, on=["user_id", "item_id"])
    frame.to_csv(drawn, index=False)
    mine, _ = read_result(score(toy, full, drawn={"sampled-10": drawn}).path)
    assert mine.candidates["sampled-10"].metrics == own(toy)[1].candidates["sampled-10"].metrics
    assert set(mine.outside.files) == {"full", "sampled-10"}
    # Such a file holds the test item among few: as lists of the catalogue it would be nearly always a hit.
    with pytest.raises(HarnessError, match="lists candidates of sampled-10 only, which always hold the test item"):
        score(toy, drawn)
    frame.iloc[1:].to_csv(drawn, index=False)
    with pytest.raises(HarnessError, match=r"drawn.csv, row 2: user 'u000' has scores for 9 of the 10 candidates"):
        score(toy, full, drawn={"sampled-10": drawn})
    outsider.write(drawn)
    with pytest.raises(HarnessError, match=r"drawn.csv, row \d+: '\w+' is no candidate of user 'u000' in sampled-10"):
        score(toy, full, drawn={"sampled-10": drawn})
    with pytest.raises(HarnessError, match="'retrieved-15' is no drawn candidate set of toy/v1"):
        score(toy, full, drawn={"retrieved-15": drawn})


def drawn_candidates(toy) -> pd.DataFrame:
    workspace, scenario = toy.workspace(), toy.suite.scenarios[0]
    test, target = open_test(workspace, scenario), open_training(workspace, scenario).target_domain
    table = drawn_tables(workspace, scenario, test, target)["sampled-10"]
    users = [target.user_ids[user].partition(":")[2] for user in test.histories.users]
    items = np.array(target.catalogue.item_ids)[table]
    return pd.DataFrame({"user_id": np.repeat(users, 10), "item_id": items.ravel()})


def test_the_board_shows_what_was_scored_outside(toy, outsider, tmp_path: Path) -> None:
    before = leaderboard(collect(toy.out / "results", "toy", 1))
    assert "§" not in before
    scored = score(toy, outsider.write(tmp_path / "lists.csv", length=10))
    text = scored.board_path.read_text()
    assert text == leaderboard(collect(toy.out / "results", "toy", 1))
    assert "| mine§" in text
    assert "\n§: scored outside." in text
    assert f"**Lists:** mine on {LEFT} lists 10 candidates or more a user" in text
    assert "fixed§" not in text
    again = score(toy, outsider.write(tmp_path / "lists.csv", length=20))
    assert again.path == scored.path
    assert "lists 20 candidates" in again.board_path.read_text()
    for path in scored.path.parent.glob("mine-*"):
        path.unlink()
    assert leaderboard(collect(toy.out / "results", "toy", 1)) == before


def test_results_that_were_not_scored_outside_do_not_name_the_field(toy, outsider) -> None:
    assert "outside" not in json.loads(own(toy)[0].read_text())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fixed", "is the result of a method that the harness ran"),
        ("sasrec", "'sasrec' is the name of an installed method"),
        ("popularity", "'popularity' is a method of toy/v1"),
        ("../up", "'../up' is no name"),
        ("", "'' is no name"),
        (".hidden", "'.hidden' is no name"),
    ],
)
def test_names_of_methods_and_paths_are_refused(toy, outsider, tmp_path: Path, monkeypatch, name, message) -> None:
    if name == "fixed":  # as in a checkout where the method is not installed
        monkeypatch.setattr("harness.run.outside.check_free_name", lambda _: None)
    with pytest.raises(HarnessError, match=message):
        score(toy, outsider.write(tmp_path / "all.csv"), name)


def test_results_of_other_conditions_are_refused_before_anything_is_written(toy, outsider, tmp_path: Path) -> None:
    toy.suite = replace(toy.suite, candidate_seed=8)
    with pytest.raises(HarnessError, match="was made with other candidates than toy/v1 has now"):
        score(toy, outsider.write(tmp_path / "all.csv"))
    assert not list(toy.out.rglob("mine-*"))
