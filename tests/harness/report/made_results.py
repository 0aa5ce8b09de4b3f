"""Result files with ranks of our choice, written without running anything."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from harness.protocol.ranks import Ranks
from harness.results.files import items_path, lists_path, ranks_path, users_path
from harness.results.lists_table import lists_to_parquet
from harness.results.ranks_table import RankTable
from harness.results.users import CatalogueItems, TestUsers
from harness.storage.files import file_digest

_TEMPLATE = Path("leaderboards", "results", "cdsr", "v2", "drama-from-action", "popularity-seed0.json")
ITEMS = tuple(f"i{index}" for index in range(50))


def write_made(
    results: Path,
    method: str,
    seed: int,
    above: dict[str, Any],
    *,
    suite: str = "made",
    scenario: tuple[str, str] = ("drama", "action"),
    users: tuple[str, ...] = (),
    items: tuple[str, ...] = (),
    lists: Any = None,
    absent: tuple[str, ...] = (),
    changes: dict[str, Any] | None = None,
) -> Path:
    """Write a result and its Parquet files; return the path of the result.

    Args:
        results: a folder of results.
        method: its name.
        seed: its seed.
        above: int [n_users] of each candidate set: items above the held-out one among 50; no ties.
        suite: its name.
        scenario: target and source.
        users: ids, u and a number, which decides the slices; empty: u0, u1, ...
        items: ids of the held-out items; empty: drawn for the users.
        lists: int [n_users, k], indices of recommended items; None: no lists.
        absent: candidate sets that the method could not be ranked among.
        changes: other fields of the result.
    """
    n = len(above["full"])
    users = users or tuple(f"u{index}" for index in range(n))
    items = items or tuple(f"i{int(user[1:]) % 50}" for user in users)
    target, source = scenario
    numbers = np.array([int(user[1:]) for user in users])
    slices = {
        "all": numbers >= 0,
        "cold_users": numbers % 3 == 0,
        "cold_items": numbers < 0,
        "head_items": numbers % 2 == 0,
        "tail_items": numbers % 2 == 1,
    }
    ranks = {name: Ranks(np.asarray(a), np.zeros(n, int), np.full(n, 50)) for name, a in above.items()}
    tested = TestUsers(users, items)
    table = RankTable(ranks, slices, tested)
    path = results / suite / "v1" / f"{target}-from-{source}" / f"{method}-seed{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    ranks_path(path).write_bytes(table.to_parquet())
    users_path(path).write_bytes(tested.to_parquet())
    fields = json.loads((Path(__file__).parents[3] / _TEMPLATE).read_text())
    domain = {**fields["data"]["drama"], "users": n, "items": len(ITEMS)}
    fields |= {
        "suite": suite,
        "suite_version": 1,
        "method": method,
        "seed": seed,
        "learns_from": [target],
        "scenario": {
            **fields["scenario"],
            "name": path.parent.name,
            "target": target,
            "sources": [source],
            "k_core": {target: 5, source: 5},
        },
        "data": {target: domain, source: domain},
        "candidates": {
            **{name: {"digest": None, "metrics": table.metrics(name)} for name in ranks},
            **{name: {"digest": None, "metrics": None, "absent": "no reason"} for name in absent},
        },
        "left_out": 0,
        "slices": {name: int(members.sum()) for name, members in slices.items()},
        "ranks_sha256": file_digest(ranks_path(path)),
        "users_sha256": tested.digest,
        "lists_sha256": None,
        "items_sha256": None,
    }  # fmt: skip
    if lists is not None:
        catalogue = CatalogueItems(ITEMS, np.ones(len(ITEMS), int))
        items_path(path).write_bytes(catalogue.to_parquet())
        lists_path(path).write_bytes(lists_to_parquet(np.asarray(lists), ITEMS))
        fields |= {"lists_sha256": file_digest(lists_path(path)), "items_sha256": catalogue.digest}
    path.write_text(json.dumps({**fields, **(changes or {})}))
    return path
