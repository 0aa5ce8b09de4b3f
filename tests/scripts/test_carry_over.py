"""Results of an earlier schema are carried over with nothing changed that was measured."""

import json
from pathlib import Path

import pytest

from harness.report.collect import collect
from harness.report.leaderboard import leaderboard
from harness.results.record import TestUsers, users_path
from scripts.carry_over import carry_over
from tests.harness.report.test_leaderboard import run_all

NEW = ("users_sha256", "candidate_seed", "least_recall", "reference")


@pytest.fixture
def old(toy, monkeypatch: pytest.MonkeyPatch):
    """Results as version 3 had them, and what they are in version 4."""
    monkeypatch.setattr("scripts.carry_over._suite", lambda *_: toy.suite)
    results = run_all(toy)
    after = {path: path.read_bytes() for path in results.rglob("*.*")}
    for path in results.rglob("*.json"):
        raw = json.loads(path.read_text()) | {"schema_version": 3, "suite_digest": "0" * 64}
        for record in raw["data"].values():
            record.pop("ties", None)
        path.write_text(json.dumps({name: value for name, value in raw.items() if name not in NEW}, indent=1))
    for path in results.rglob("users.parquet"):
        path.unlink()
    toy.results, toy.after = results, after
    return toy


def test_carried_over_results_are_what_a_run_writes(old) -> None:
    board = leaderboard
    assert carry_over(old.results, old.cache, old.cache) == (8, {})
    assert {path: path.read_bytes() for path in old.results.rglob("*.*")} == old.after
    assert board(collect(old.results, "toy", 1)).startswith("# toy v1")
    assert carry_over(old.results, old.cache, old.cache) == (0, {})


def edited(path: Path, text: str, other: str) -> None:
    assert text in path.read_text()
    path.write_text(path.read_text().replace(text, other))


def test_a_result_of_other_data_is_left_and_named(old) -> None:
    path = old.results / "toy" / "v1" / "left-from-right" / "fixed-seed0.json"
    fingerprint = json.loads(path.read_text())["data"]["left"]["fingerprint"]
    edited(path, fingerprint, "0" * 64)
    before = path.read_bytes()
    carried, left = carry_over(old.results, old.cache, old.cache)
    assert carried == 7
    assert list(left) == [path]
    assert "Another data than the suite's" in left[path]
    assert path.read_bytes() == before


def test_other_candidates_are_left_and_named(old) -> None:
    old.suite = old.replace(old.suite, candidate_seed=8)
    carried, left = carry_over(old.results, old.cache, old.cache)
    assert (carried, len(left)) == (0, 8)
    assert all("Another drawn candidates" in reason for reason in left.values())


def test_missing_data_leave_their_scenarios(old, monkeypatch: pytest.MonkeyPatch) -> None:
    left_domain, right = old.suite.domains
    old.suite = old.replace(old.suite, domains=(left_domain, old.replace(right, fingerprint="0" * 64)))
    carried, left = carry_over(old.results, old.cache, old.cache)
    assert (carried, len(left)) == (0, 8)
    assert all("Domain 'right' has the fingerprint" in reason for reason in left.values())


def test_users_are_those_of_the_ranks(old) -> None:
    carry_over(old.results, old.cache, old.cache)
    path = old.results / "toy" / "v1" / "left-from-right" / "fixed-seed0.json"
    assert TestUsers.from_parquet(users_path(path)).digest == json.loads(path.read_text())["users_sha256"]
