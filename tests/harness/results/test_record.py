"""Result files that are valid by schema and wrong in content are refused, and named."""

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

HOME = Path("toy", "v1", "left-from-right")


@pytest.fixture
def results(toy, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of results that are made once."""
    kept = tmp_path_factory.getbasetemp() / "toy-results"
    if not kept.exists():
        shutil.copytree(run_all(toy), kept)
    return Path(shutil.copytree(kept, tmp_path / "results"))


def edited(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


def with_table(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Changes the ranks and their digest in the result."""
    ranks = path.with_suffix(".parquet")
    pq.write_table(change(pq.read_table(ranks)), ranks)
    edited(path, lambda raw: raw.update(ranks_sha256=file_digest(ranks)))


def with_column(name: str, value: Callable[[pa.ChunkedArray], Any]) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(table.column_names.index(name), name, value(table[name]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["full/tied"]), "column 'full/tied' is missing"),
        (lambda t: t.drop_columns(["slice/all"]), "column 'slice/all' is missing"),
        (lambda t: t.append_column("scores", t["full/tied"]), "column 'scores' is not one of ranks or slices"),
        (lambda t: t.append_column("full/more", t["full/tied"]), "column 'full/more' is not one of"),
        (with_column("full/above", lambda c: c.cast(pa.float64())), "column 'full/above' is not one of"),
        (with_column("full/above", lambda c: pa.nulls(len(c), pa.int32())), "column 'full/above' is not one of"),
        (with_column("slice/all", lambda c: c.cast(pa.int32())), "column 'slice/all' is not one of"),
        (with_column("full/above", lambda c: pa.array(-1 - c.to_numpy())), "full has an impossible rank"),
        (with_column("full/tied", lambda c: pa.array(c.to_numpy() + 1000)), "full has an impossible rank"),
        (with_column("slice/cold_items", lambda c: pa.array(~c.to_numpy())), "slices: not those of the ranks"),
        (lambda t: t.slice(0, 20), "30 users, but 20 rows of ranks"),
        (lambda t: pa.concat_tables([t, t.slice(0, 1)]), "30 users, but 31 rows of ranks"),
    ],
)
def test_impossible_ranks_are_refused(results: Path, change: Callable[[pa.Table], pa.Table], message: str) -> None:
    path = results / HOME / "fixed-seed0.json"
    with_table(path, change)
    with pytest.raises(HarnessError, match=rf"fixed-seed0\.(json|parquet): .*{message}"):
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
def test_a_contradictory_result_is_refused(
    results: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    edited(results / HOME / "fixed-seed0.json", change)
    with pytest.raises(HarnessError, match=rf"fixed-seed0\.json: .*{message}"):
        collect(results, "toy", 1)


def damaged_users(path: Path) -> None:
    users = TestUsers.from_parquet(path)
    path.write_bytes(TestUsers(users.user_ids[::-1], users.item_ids).to_parquet())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), r"No file of users .*users\.parquet"),
        (lambda path: path.write_bytes(b"PAR1"), r"users\.parquet is not a file of users"),
        (lambda path: pq.write_table(pa.table({"user_id": ["a"]}), path), r"users\.parquet is not a file of users"),
        (lambda path: path.write_bytes(TestUsers(("a", "a"), ("b", "b")).to_parquet()), "a user stands in it twice"),
        (damaged_users, r"users\.parquet does not hold the users that fixed-seed0\.json was made with"),
    ],
)
def test_a_damaged_file_of_users_is_refused(results: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(results / HOME / "users.parquet")
    with pytest.raises(HarnessError, match=message):
        collect(results, "toy", 1)


def test_a_user_and_the_held_out_item_can_be_looked_up(results: Path) -> None:
    domain = prepare(toy_raw("left", 1), 1)
    last = domain.interactions.items[domain.interactions.offsets[1:] - 1]
    expected = [
        {"user_id": user, "item_id": domain.catalogue.item_ids[item]}
        for user, item in zip(domain.user_ids, last, strict=True)
    ]
    assert pq.read_table(results / HOME / "users.parquet").to_pylist() == expected
    _, table = read_result(results / HOME / "fixed-seed0.json")
    assert table.users.user_ids == domain.user_ids


def test_rows_of_two_scenarios_are_paired_by_user(results: Path) -> None:
    board = collect(results, "toy", 1)
    one, _ = board.scenarios["left-from-right"]
    (table, *others) = one.tables
    shuffled = TestUsers(table.users.user_ids[::-1], table.users.item_ids[::-1])
    moved = replace(one, tables=tuple(table.reordered(shuffled) for table in one.tables))
    assert not np.array_equal(moved.tables[0].ranks["full"].above, table.ranks["full"].above)
    pair = paired_values(one, moved)
    assert pair is not None
    assert np.array_equal(*pair)
    other_users = TestUsers(("unknown", *table.users.user_ids[1:]), table.users.item_ids)
    with_other_users = replace(one, tables=(RankTable(table.ranks, table.slices, other_users), *others))
    assert paired_values(one, with_other_users) is None


@pytest.mark.parametrize("instant", [0, 1_500_000_000 * 10**9, 1_500_000_000_090_000_000, 1])
def test_splits_with_fractions_of_seconds(instant: int) -> None:
    assert _SPLIT.fullmatch(f"temporal/{as_seconds(instant)}/{as_seconds(instant + 1)}")
