"""Result files with a valid schema but inconsistent content are refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.data.prepare import prepare
from harness.data.times import as_seconds
from harness.errors import HarnessError
from harness.report.collect import collect
from harness.report.transfer import paired_values
from harness.results.check import _SPLIT
from harness.results.files import read_result
from harness.results.ranks_table import RankTable
from harness.results.users import TestUsers
from harness.storage.files import file_digest
from tests.conftest import toy_raw
from tests.harness.report.test_leaderboard import run_all

SCENARIO_FOLDER = Path("toy", "v1", "left-from-right")


@pytest.fixture
def results(toy, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of toy results, which are computed once per session."""
    original = tmp_path_factory.getbasetemp() / "toy-results"
    if not original.exists():
        shutil.copytree(run_all(toy), original)
    return Path(shutil.copytree(original, tmp_path / "results"))


def edit_json(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


def edit_ranks(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change the ranks, and update their digest in the result."""
    ranks = path.with_suffix(".parquet")
    pq.write_table(change(pq.read_table(ranks)), ranks)
    edit_json(path, lambda raw: raw.update(ranks_sha256=file_digest(ranks)))


def replace_column(name: str, value: Callable[[pa.ChunkedArray], Any]) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(table.column_names.index(name), name, value(table[name]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["full/tied"]), "column 'full/tied' is missing"),
        (lambda t: t.drop_columns(["slice/all"]), "column 'slice/all' is missing"),
        (lambda t: t.append_column("scores", t["full/tied"]), "column 'scores' is not one of ranks or slices"),
        (lambda t: t.append_column("full/more", t["full/tied"]), "column 'full/more' is not one of"),
        (replace_column("full/above", lambda c: c.cast(pa.float64())), "column 'full/above' is not one of"),
        (replace_column("full/above", lambda c: pa.nulls(len(c), pa.int32())), "column 'full/above' is not one of"),
        (replace_column("slice/all", lambda c: c.cast(pa.int32())), "column 'slice/all' is not one of"),
        (replace_column("full/above", lambda c: pa.array(-1 - c.to_numpy())), "full has an impossible rank"),
        (replace_column("full/tied", lambda c: pa.array(c.to_numpy() + 1000)), "full has an impossible rank"),
        (replace_column("slice/cold_items", lambda c: pa.array(~c.to_numpy())), "slices: not those of the ranks"),
        (lambda t: t.slice(0, 20), "30 users, but 20 rows of ranks"),
        (lambda t: pa.concat_tables([t, t.slice(0, 1)]), "30 users, but 31 rows of ranks"),
    ],
)
def test_impossible_ranks_are_refused(results: Path, change: Callable[[pa.Table], pa.Table], message: str) -> None:
    path = results / SCENARIO_FOLDER / "fixed-seed0.json"
    edit_ranks(path, change)
    with pytest.raises(HarnessError, match=rf"fixed-seed0\.(json|parquet)(: |, row \d+: ).*{message}"):
        collect(results, "toy", 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw["scenario"].update(split="temporal"), "there is no split 'temporal'"),
        (lambda raw: raw["scenario"].update(split="temporal/1/x"), "there is no split"),
        (lambda raw: raw["scenario"].update(split="my-split"), "there is no split 'my-split'"),
        (lambda raw: raw["scenario"].update(split="leave-one-out-selected-on-test"), "does not match its target"),
        (lambda raw: raw["scenario"].update(target="right"), "does not match its target"),
        (lambda raw: raw["scenario"].update(sources=["middle"]), "does not match its target"),
        (lambda raw: raw["scenario"].update(overlap="none"), "does not match its target"),
        (lambda raw: raw["data"].pop("right"), "data: not the domains"),
        (lambda raw: raw["scenario"]["k_core"].pop("right"), "data: not the domains"),
        (lambda raw: raw.update(learns_from=["left", "elsewhere"]), "learns_from: not the domains"),
        (lambda raw: raw["slices"].update(all=3), "slices: not those"),
        (lambda raw: raw.update(left_out=12), "left_out: not the target's users"),
        (lambda raw: raw["candidates"].pop("full"), "candidates: not those of the ranks"),
        (lambda raw: raw["candidates"]["full"].update(metrics=None), "candidates: not those of the ranks"),
        (lambda raw: raw["budget"].pop("trials"), "budget: trials, epochs or patience is missing"),
    ],
)
def test_inconsistent_results_are_refused(results: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    edit_json(results / SCENARIO_FOLDER / "fixed-seed0.json", change)
    with pytest.raises(HarnessError, match=rf"fixed-seed0\.json: .*{message}"):
        collect(results, "toy", 1)


def reverse_users(path: Path) -> None:
    users = TestUsers.from_parquet(path)
    path.write_bytes(TestUsers(users.user_ids[::-1], users.item_ids).to_parquet())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), r"No file of users .*users\.parquet"),
        (lambda path: path.write_bytes(b"PAR1"), r"users\.parquet is not a file of users"),
        (lambda path: pq.write_table(pa.table({"user_id": ["a"]}), path), r"users\.parquet is not a file of users"),
        (lambda path: path.write_bytes(TestUsers(("a", "a"), ("b", "b")).to_parquet()), "user 'a' stands in it"),
        (reverse_users, r"users\.parquet does not hold the users that fixed-seed0\.json was made with"),
    ],
)
def test_damaged_user_files_are_refused(results: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(results / SCENARIO_FOLDER / "users.parquet")
    with pytest.raises(HarnessError, match=message):
        collect(results, "toy", 1)


def test_user_files_list_each_user_with_the_test_item(results: Path) -> None:
    domain = prepare(toy_raw("left", 1), 1)
    last = domain.interactions.items[domain.interactions.offsets[1:] - 1]
    expected = [
        {"user_id": user, "item_id": domain.catalogue.item_ids[item]}
        for user, item in zip(domain.user_ids, last, strict=True)
    ]
    assert pq.read_table(results / SCENARIO_FOLDER / "users.parquet").to_pylist() == expected
    _, table = read_result(results / SCENARIO_FOLDER / "fixed-seed0.json")
    assert table.users.user_ids == domain.user_ids


def test_values_are_paired_by_user_not_by_row(results: Path) -> None:
    board = collect(results, "toy", 1)
    entry, _ = board.scenarios["left-from-right"]
    (table, *others) = entry.tables
    reversed_users = TestUsers(table.users.user_ids[::-1], table.users.item_ids[::-1])
    reordered = replace(entry, tables=tuple(table.reordered(reversed_users) for table in entry.tables))
    assert not np.array_equal(reordered.tables[0].ranks["full"].above, table.ranks["full"].above)
    pair = paired_values(entry, reordered)
    assert pair is not None
    assert np.array_equal(*pair)
    other_users = TestUsers(("unknown", *table.users.user_ids[1:]), table.users.item_ids)
    with_other_users = replace(entry, tables=(RankTable(table.ranks, table.slices, other_users), *others))
    assert paired_values(entry, with_other_users) is None


@pytest.mark.parametrize("instant", [0, 1_500_000_000 * 10**9, 1_500_000_000_090_000_000, 1])
def test_temporal_splits_may_have_fractions_of_seconds(instant: int) -> None:
    assert _SPLIT.fullmatch(f"temporal/{as_seconds(instant)}/{as_seconds(instant + 1)}")
