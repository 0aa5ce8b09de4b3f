"""Recommendation lists of results: optional, stored beside ranks, checked when read."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from harness.errors import HarnessError
from harness.protocol.ranks import MISSED
from harness.report.collect import collect
from harness.report.leaderboard import leaderboard
from harness.results.files import read_recommendations, read_result, result_path_of
from harness.results.lists_table import lists_from_parquet, lists_to_parquet
from harness.results.users import CatalogueItems
from tests.harness.report.test_leaderboard import Fixed, run_all

RESULT = Path("toy", "v1", "left-from-right", "fixed-seed0.json")


def test_lists_have_the_test_item_at_its_rank(toy) -> None:
    path = run_all(toy) / RESULT
    result, table = read_result(path)
    recommendations = read_recommendations(path, result, table.users)
    catalogue = CatalogueItems.from_parquet(path.with_name("items.parquet"))
    test_items = np.array([catalogue.index[item] for item in table.users.item_ids])
    # Random vectors do not tie, so the held-out item's position in the list is its rank.
    for user, above in enumerate(table.ranks["full"].above):
        positions = np.flatnonzero(recommendations.items[user] == test_items[user])
        assert positions.tolist() == ([above] if above < 20 else [])
    rows = pq.read_table(path.with_suffix(".lists.parquet"))["items"].to_pylist()
    assert rows[3] == [catalogue.item_ids[item] for item in recommendations.items[3] if item >= 0]
    assert catalogue.training_interactions.sum() == result.data["left"].training_interactions
    assert (table.ranks["full"].above < MISSED).all()


def test_lists_survive_a_round_trip_through_parquet(tmp_path: Path) -> None:
    catalogue = CatalogueItems(("a", "b", "c"), np.array([4, 0, 1]))
    lists = np.full((4, 20), -1)
    lists[0, :2], lists[2, :3] = [2, 0], [0, 1, 2]
    path = tmp_path / "lists.parquet"
    path.write_bytes(lists_to_parquet(lists, catalogue.item_ids))
    np.testing.assert_array_equal(lists_from_parquet(path, catalogue, 4), lists)
    with pytest.raises(HarnessError, match="each of 5 users"):
        lists_from_parquet(path, catalogue, 5)
    with pytest.raises(HarnessError, match="item 'c' is not in the catalogue"):
        lists_from_parquet(path, CatalogueItems(("a", "b"), np.array([4, 0])), 4)
    path.write_bytes(lists_to_parquet(np.full((4, 20), -1), catalogue.item_ids))
    assert (lists_from_parquet(path, catalogue, 4) == -1).all()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.with_suffix(".lists.parquet").unlink(), "No file of recommendation lists"),
        (lambda path: path.with_suffix(".lists.parquet").write_bytes(b"PAR1"), "is not the file of lists that"),
        (lambda path: path.with_name("items.parquet").unlink(), "No file of items"),
        (lambda path: path.with_name("items.parquet").write_bytes(b"PAR1"), "is not a file of items"),
        (
            lambda path: path.with_name("items.parquet").write_bytes(CatalogueItems(("a",), np.ones(1)).to_parquet()),
            "does not hold the catalogue",
        ),
        (lambda path: [path.unlink(), path.with_suffix(".parquet").unlink()], "No result file .*fixed-seed0.json, but"),
    ],
)
def test_damaged_list_files_are_refused(toy, damage, message: str) -> None:
    results = run_all(toy)
    damage(results / RESULT)
    with pytest.raises(HarnessError, match=message):
        leaderboard(collect(results, "toy", 1))


def test_results_without_lists_have_dashes_or_no_section_on_the_board(toy) -> None:
    toy.add("fixed", Fixed)
    results = toy.run("popularity", "fixed", seeds=(0,), keep_lists=False).results.parents[1]
    assert not list(results.rglob("*lists*"))
    assert not list(results.rglob("items.parquet"))
    raw = (results / RESULT).read_text()
    assert "lists_sha256" not in raw
    assert "description" not in raw
    assert "## What is recommended" not in leaderboard(collect(results, "toy", 1))
    toy.add("other", Fixed)
    toy.run("other", seeds=(0,))
    section = leaderboard(collect(results, "toy", 1)).partition("## What is recommended")[2].partition("\n## ")[0]
    rows = {line.split("|")[1].strip(): line for line in section.splitlines() if line.startswith("| ")}
    assert [cell.strip() for cell in rows["fixed"].split("|")[2:6]] == ["–"] * 4
    assert "–" not in rows["other"]


def test_runs_with_and_without_lists_are_kept_apart(toy) -> None:
    for keep_lists in (False, True, False):
        results = toy.run("popularity", seeds=(0,), keep_lists=keep_lists).results
        assert len(list(results.rglob("*.lists.parquet"))) == 2 * keep_lists


def test_result_path_of_parquet_files() -> None:
    folder = Path("toy", "v1", "a-from-b")
    for name in ("my.method-seed0.parquet", "my.method-seed0.lists.parquet"):
        assert result_path_of(folder / name) == folder / "my.method-seed0.json"
    assert result_path_of(folder / "users.parquet") is None
    assert result_path_of(folder / "items.parquet") is None
