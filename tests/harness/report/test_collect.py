"""Collecting results for a board: damaged and inconsistent files are refused, older ones are read."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from harness.errors import HarnessError
from harness.protocol.ranks import MISSED, Ranks
from harness.report.collect import collect
from harness.report.folders import boards_in
from harness.report.leaderboard import leaderboard
from harness.results.ranks_table import RankTable
from harness.results.record import RunResult
from harness.storage.files import digest as content_digest
from tests.harness.report.test_leaderboard import run_all


def test_repeated_runs_give_the_same_content(toy) -> None:
    first = [r.content_digest() for r in collect(run_all(toy), "toy", 1).results]
    shutil.rmtree(toy.cache)
    shutil.rmtree(toy.out)
    assert [r.content_digest() for r in collect(run_all(toy), "toy", 1).results] == first


def test_metrics_can_be_recomputed_from_the_parquet_file(toy) -> None:
    for path in run_all(toy).rglob("*.json"):
        raw = json.loads(path.read_text())
        table = RankTable.from_parquet(path.with_suffix(".parquet"))
        for name, record in raw["candidates"].items():
            if record["metrics"] is not None:
                assert table.metrics(name) == record["metrics"]


def damage_json(path: Path) -> None:
    path.write_text(path.read_text()[:200])


def damage_field(path: Path) -> None:
    raw = json.loads(path.read_text())
    raw["seed"] = "none"
    path.write_text(json.dumps(raw))


def damage_metric(path: Path) -> None:
    raw = json.loads(path.read_text())
    raw["candidates"]["full"]["metrics"]["all"]["ndcg@10"] = 0.99
    path.write_text(json.dumps(raw))


def damage_data(path: Path) -> None:
    raw = json.loads(path.read_text())
    raw["data"]["left"]["fingerprint"] = "0" * 64
    path.write_text(json.dumps(raw))


def rename_result(path: Path) -> None:
    for suffix in (".json", ".parquet", ".lists.parquet"):
        path.with_suffix(suffix).rename(path.with_name(f"other-seed0{suffix}"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_json, "Corrupt result file .*fixed-seed0.json"),
        (damage_field, "Corrupt result file .*fixed-seed0.json: seed"),
        (damage_metric, "fixed-seed0.json: the metrics on full are not what fixed-seed0.parquet gives"),
        (damage_data, "made with different data"),
        (rename_result, "other-seed0.json holds the result of toy/v1/left-from-right/fixed-seed0.json"),
        (lambda path: path.unlink(), "No result file .*fixed-seed0.json"),
        (lambda path: path.with_suffix(".parquet").unlink(), "No ranks file .*fixed-seed0.parquet"),
        (lambda path: path.with_suffix(".parquet").write_bytes(b"PAR1"), "is not the ranks file that"),
    ],
)
def test_damaged_results_are_refused(toy, damage, message: str) -> None:
    results = run_all(toy)
    damage(results / "toy" / "v1" / "left-from-right" / "fixed-seed0.json")
    with pytest.raises(HarnessError, match=message):
        collect(results, "toy", 1)


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="No results of toy/v1"):
        collect(tmp_path, "toy", 1)


def test_versions_of_a_suite_have_separate_boards(toy) -> None:
    results = run_all(toy)
    old = leaderboard(collect(results, "toy", 1))
    toy.suite = toy.replace(toy.suite, version=2)
    run_all(toy, methods=("popularity",))
    assert boards_in(results) == [("toy", 1), ("toy", 2)]
    assert leaderboard(collect(results, "toy", 1)) == old
    assert {r.method for r in collect(results, "toy", 2).results} == {"popularity"}


def test_results_with_different_candidates_are_refused(toy) -> None:
    results = run_all(toy, methods=("popularity",))
    toy.suite, toy.out = toy.replace(toy.suite, candidate_seed=8), toy.out / "other"
    shutil.copytree(run_all(toy, methods=("fixed",)), results, dirs_exist_ok=True)
    with pytest.raises(
        HarnessError, match=r"different candidates \(sampled-10 \(seed 7\) instead of sampled-10 \(seed 8\)\)"
    ):
        collect(results, "toy", 1)


def test_tables_without_optional_columns_keep_their_metrics(tmp_path: Path) -> None:
    above, tied, candidates = np.array([0, 3, MISSED]), np.array([0, 2, 0]), np.array([9, 9, 9])
    slices = {"all": np.ones(3, dtype=bool)}
    old = RankTable({"full": Ranks(above, tied, candidates)}, slices)
    chance, unscored = np.array([1.0, 0.25, 1.0]), np.array([False, False, True])
    new = RankTable({"full": Ranks(above, tied, candidates, chance, unscored)}, slices)
    for name, table in (("old", old), ("new", new)):
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(table.to_parquet())
        assert RankTable.from_parquet(path).metrics("full") == table.metrics("full")
    assert pq.read_table(tmp_path / "old.parquet").column_names == [
        "slice/all", "full/above", "full/tied", "full/candidates"
    ]  # fmt: skip
    assert old.metrics("full")["all"]["hr@5"] == pytest.approx((1 + 2 / 3) / 3)
    assert new.metrics("full")["all"]["hr@5"] == pytest.approx((1 + 0.25 * 2 / 3) / 3)
    assert RankTable.from_parquet(tmp_path / "new.parquet").ranks["full"].unscored.tolist() == [False, False, True]


def test_newer_fields_do_not_change_the_digest_of_older_results(toy) -> None:
    path = run_all(toy) / "toy/v1/left-from-right/fixed-seed0.json"
    raw = json.loads(path.read_text())
    digest = RunResult.model_validate(raw).content_digest()
    for record in raw["candidates"].values():
        del record["recall_interval"], record["recall_users"], record["unscored"]
    older = RunResult.model_validate(raw)
    assert older.content_digest() != digest
    content = {k: v for k, v in raw.items() if k not in ("provenance", "cost")}
    assert older.content_digest() == content_digest(content)
