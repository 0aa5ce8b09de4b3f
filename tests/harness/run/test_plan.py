"""What names a run, what binds a result, and what is told before anything runs."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.methods.api import NoSettings
from harness.protocol.scenario import Scenario
from harness.protocol.suite import Budget, Suite
from harness.report.collect import collect
from harness.results.files import read_record, read_result
from harness.run.plan import Plan, check_results, make_plan
from tests.conftest import Toy
from tests.harness.report.test_leaderboard import Fixed, run_all


def plan_of(toy: SimpleNamespace, suite: Suite | None = None, methods=("popularity", "fixed"), seeds=(0,)) -> Plan:
    suite = suite or toy.suite
    return make_plan(toy.workspace(suite), suite.scenarios, methods, seeds)


def keys(toy: SimpleNamespace, suite: Suite | None = None) -> dict[tuple[str, str], str]:
    toy.add("fixed", Fixed)
    return {(run.scenario.name, run.method): run.key for run in plan_of(toy, suite).runs}


def test_a_run_is_bound_to_its_own_scenario_and_method_alone(toy) -> None:
    suite, before = toy.suite, keys(toy)
    more = (*suite.scenarios, Scenario("left-from-right.no-overlap", "left", ("right",), overlap="none"))
    for changed in (
        replace(suite, scenarios=more),
        replace(suite, settings={"another": {"rate": 1}}),
        replace(suite, title="Another title", seeds=(0, 1, 2), methods=("popularity", "fixed")),
        replace(suite, domains=(*suite.domains, replace(suite.domains[0], name="third", source=Toy(seed=3)))),
    ):
        assert before.items() <= keys(toy, changed).items()


@pytest.mark.parametrize(
    "change",
    [
        {"candidates": ("full",)},
        {"candidate_seed": 8},
        {"least_recall": 0.5},
        {"budget": Budget(1, 4, 2)},
        {"scenarios": (Scenario("left-from-right", "left", ("right",), overlap="none"),)},
    ],
    ids=str,
)
def test_what_binds_a_run_is_in_its_key(toy, change: dict[str, Any]) -> None:
    before, after = keys(toy), keys(toy, replace(toy.suite, **change))
    assert not set(before.values()) & set(after.values())


def test_other_data_change_the_keys_of_their_scenarios(toy) -> None:
    left, right = toy.suite.domains
    before = keys(toy)
    after = keys(toy, replace(toy.suite, domains=(left, replace(right, source=Toy(seed=9)))))
    assert not set(before.values()) & set(after.values())


@dataclass(frozen=True)
class Parametric(Fixed):
    """A method with a function that holds a parameter, a file, and a reference."""

    mix: Callable[[float], float] = abs
    content_digest: str = "1"
    reference: str | None = None
    settings: NoSettings = field(default_factory=NoSettings)

    def content(self) -> dict[str, str]:
        return {"weights": self.content_digest}


def mixing(by: float) -> Callable[[float], float]:
    return lambda x: x * by


def test_a_method_s_files_and_parameters_are_in_its_runs_keys(toy) -> None:
    found = {}
    for name, factory in {
        "base": lambda: Parametric(mixing(1.0)),
        "same": lambda: Parametric(mixing(1.0)),
        "mix": lambda: Parametric(mixing(2.0)),
        "file": lambda: Parametric(mixing(1.0), "2"),
        "reference": lambda: Parametric(mixing(1.0), reference="popularity"),
    }.items():
        toy.add("fixed", factory)
        found[name] = plan_of(toy, methods=("fixed",)).runs[0].key
    assert found["base"] == found.pop("same")
    assert len(set(found.values())) == 4


def test_a_new_cutoff_is_computed_for_old_results(toy) -> None:
    (entry, *_) = collect(run_all(toy), "toy", 1).scenarios["left-from-right"]
    values = entry.values("full", "hr@7")
    assert "hr@7" not in entry.results[0].candidates["full"].metrics["all"]
    hits = [(table.ranks["full"].above < 7) for table in entry.tables]  # vectors of random floats: no ties
    assert np.array_equal(values, np.array(hits, dtype=float))


def test_a_slice_newer_than_a_result_does_not_stand_in_its_way(toy) -> None:
    results = run_all(toy)
    for path in results.rglob("fixed-seed0.json"):
        raw = json.loads(path.read_text())
        del raw["slices"]["tail_items"]
        path.write_text(json.dumps(raw))
    check_results(plan_of(toy, methods=("popularity",), seeds=(2,)), toy.suite, toy.domains, results)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"candidate_seed": 8},
            r"other candidates than toy/v1 has now \(sampled-10 \(seed 7\) instead of sampled-10 \(seed 8\)",
        ),
        (
            {"candidates": ("full",)},
            r"other candidates .*\(retrieved-15 .*, sampled-10 \(seed 7\) instead of nothing",
        ),
        ({"budget": Budget(1, 4, 2)}, r"other budget .*\(epochs: 3 instead of 4\)"),
    ],
    ids=["seed", "candidates", "budget"],
)
def test_what_cannot_stand_on_a_board_is_told_before_the_run(toy, change: dict[str, Any], message: str) -> None:
    results = run_all(toy)
    check_results(plan_of(toy, methods=("popularity",), seeds=(2,)), toy.workspace(), results)
    suite = replace(toy.suite, **change)
    plan = plan_of(toy, suite, methods=("popularity",), seeds=(0, 1))
    with pytest.raises(HarnessError, match=rf"left-from-right/fixed-seed0\.json was made with {message}.*--output-dir"):
        check_results(plan, toy.workspace(suite), results)
    # What is made anew does not stand in the way.
    check_results(plan_of(toy, suite, seeds=(0, 1)), toy.workspace(suite), results)


def test_slices_that_were_cut_otherwise_are_told_before_the_run(toy) -> None:
    results = run_all(toy)
    plan = plan_of(toy, methods=("popularity",), seeds=(2,))
    check_results(plan, toy.workspace(), results)
    for path in results.rglob("fixed-seed0.json"):
        raw = json.loads(path.read_text())
        raw["slices"]["cold_users"] += 1
        path.write_text(json.dumps(raw))
    with pytest.raises(
        HarnessError, match=r"fixed-seed0\.json was made with other slices .*\(cold_users: \d+ instead of"
    ):
        check_results(plan, toy.workspace(), results)


def test_data_that_changed_are_told_before_the_run(toy) -> None:
    results = run_all(toy)
    left, right = toy.suite.domains
    suite = replace(toy.suite, domains=(left, replace(right, source=Toy(seed=9))))
    plan = plan_of(toy, suite, methods=("popularity",), seeds=(0, 1))
    with pytest.raises(
        HarnessError, match=r"fixed-seed0\.json was made with other data .*\(right: [0-9a-f]{12} instead of"
    ):
        check_results(plan, toy.workspace(suite), results)


def test_seeds_of_one_method_with_other_files_are_told_before_the_run(toy) -> None:
    toy.add("files", Parametric)
    results = run_all(toy, methods=("files",), seeds=(0,))
    toy.add("files", lambda: Parametric(content_digest="2"))
    plan = plan_of(toy, methods=("files",), seeds=(1,))
    with pytest.raises(HarnessError, match=r"files-seed0\.json was made with other content .*weights: 1 instead of 2"):
        check_results(plan, toy.workspace(), results)
    check_results(plan_of(toy, methods=("popularity",)), toy.workspace(), results)


def test_a_result_of_an_earlier_schema_is_named(toy) -> None:
    path = next(run_all(toy).rglob("*.json"))
    raw = json.loads(path.read_text()) | {"schema_version": 3}
    path.write_text(json.dumps(raw))
    for read in (read_record, read_result):
        with pytest.raises(HarnessError, match=rf"{path.name} is a result of schema version 3, not 4\. Delete it"):
            read(Path(path))


def plan(toy, methods):
    return make_plan(toy.workspace(), toy.suite.scenarios[:1], methods, (0,))


@pytest.mark.parametrize("size", [31, 40, 41, 1000])
def test_too_small_a_catalogue_for_sampled_candidates(toy, size: int) -> None:
    toy.suite = toy.replace(toy.suite, candidates=("full", f"sampled-{size}"))
    with pytest.raises(HarnessError, match=rf"sampled-{size}: \d+ of 30 users have fewer than {size - 1} items"):
        plan(toy, ("popularity",))


def test_candidates_that_are_not_those_the_suite_pins(toy) -> None:
    pinned = toy.replace(toy.suite.scenarios[0], pins=(("sampled-10", "0" * 64),))
    toy.suite = toy.replace(toy.suite, scenarios=(pinned,))
    with pytest.raises(HarnessError, match="sampled-10 has the digest"):
        plan(toy, ("popularity",))


def test_candidates_are_drawn_once(toy) -> None:
    plan(toy, ("popularity",))
    assert len(list((toy.cache / "store" / "candidates").iterdir())) == 1


def test_a_method_that_cannot_learn_from_the_data(toy) -> None:
    class Fussy:
        settings = NoSettings()

        def check_data(self, data):
            raise HarnessError(f"{data.target} is not to my taste.", "Choose another.")

        def fit(self, data, context):
            raise AssertionError("it was to be refused before")

    toy.add("fussy", Fussy)
    made = plan(toy, ("popularity", "fussy"))
    assert [run.method for run in made.missing] == ["popularity"]
    assert [(run.method, run.reason) for run in made.skipped] == [("fussy", "left is not to my taste. Choose another.")]
