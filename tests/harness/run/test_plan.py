"""Cache keys of runs, and checks of existing results, candidates and data before a run."""

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
from harness.run.plan import Plan, Run, Training, check_results, make_plan
from tests.conftest import Toy
from tests.harness.report.test_leaderboard import Fixed, run_all


def plan_of(toy: SimpleNamespace, suite: Suite | None = None, methods=("popularity", "fixed"), seeds=(0,)) -> Plan:
    suite = suite or toy.suite
    return make_plan(toy.workspace(suite), suite.scenarios, methods, seeds)


def keys(toy: SimpleNamespace, suite: Suite | None = None) -> dict[tuple[str, str], str]:
    toy.add("fixed", Fixed)
    return {(run.scenario.name, run.method): run.key for run in plan_of(toy, suite).runs}


def test_other_scenarios_methods_and_titles_do_not_change_a_run_s_key(toy) -> None:
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
        {"test_users": 9},
        {"user_limit": 9},
        {"budget": Budget(1, 4, 2)},
        {"scenarios": (Scenario("left-from-right", "left", ("right",), overlap="none"),)},
    ],
    ids=str,
)
def test_conditions_of_results_change_the_keys(toy, change: dict[str, Any]) -> None:
    before, after = keys(toy), keys(toy, replace(toy.suite, **change))
    assert not set(before.values()) & set(after.values())


@pytest.mark.parametrize("change", [{"candidate_seed": 8}, {"least_recall": 0.5}], ids=str)
def test_what_results_record_of_candidate_sets_changes_the_keys(toy, change: dict[str, Any]) -> None:
    toy.suite = replace(toy.suite, candidates=("full",))  # which uses neither
    before, after = keys(toy), keys(toy, replace(toy.suite, **change))
    assert not set(before.values()) & set(after.values())


def test_changed_data_change_the_keys(toy) -> None:
    left, right = toy.suite.domains
    before = keys(toy)
    after = keys(toy, replace(toy.suite, domains=(left, replace(right, source=Toy(seed=9)))))
    assert not set(before.values()) & set(after.values())


@dataclass(frozen=True)
class Parametric(Fixed):
    """A method with a parametrised function, a file digest and a reference method."""

    mix: Callable[[float], float] = abs
    content_digest: str = "1"
    reference: str | None = None
    sources_too: bool = True
    settings: NoSettings = field(default_factory=NoSettings)

    def content(self) -> dict[str, str]:
        return {"weights": self.content_digest}

    def learns_from(self, target: str, sources: tuple[str, ...]) -> tuple[str, ...]:
        return (target, *sources) if self.sources_too else (target,)


def multiplier(factor: float) -> Callable[[float], float]:
    return lambda x: x * factor


def test_a_method_s_files_and_parameters_change_its_keys(toy) -> None:
    key_by_change = {}
    for name, factory in {
        "base": lambda: Parametric(multiplier(1.0)),
        "same": lambda: Parametric(multiplier(1.0)),
        "mix": lambda: Parametric(multiplier(2.0)),
        "file": lambda: Parametric(multiplier(1.0), "2"),
        "reference": lambda: Parametric(multiplier(1.0), reference="popularity"),
    }.items():
        toy.add("fixed", factory)
        key_by_change[name] = plan_of(toy, methods=("fixed",)).runs[0].key
    assert key_by_change["base"] == key_by_change.pop("same")
    assert len(set(key_by_change.values())) == 4


def test_a_new_cutoff_is_computed_for_old_results(toy) -> None:
    (entry, *_) = collect(run_all(toy), "toy", 1).scenarios["left-from-right"]
    values = entry.values("full", "hr@7")
    assert "hr@7" not in entry.results[0].candidates["full"].metrics["all"]
    hits = [(table.ranks["full"].above < 7) for table in entry.tables]  # random vectors do not tie
    assert np.array_equal(values, np.array(hits, dtype=float))


def test_results_without_a_newer_slice_are_accepted(toy) -> None:
    results = run_all(toy)
    for path in results.rglob("fixed-seed0.json"):
        raw = json.loads(path.read_text())
        del raw["slices"]["tail_items"]
        path.write_text(json.dumps(raw))
    check_results(plan_of(toy, methods=("popularity",), seeds=(2,)), toy.workspace(), results)


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
def test_results_with_other_conditions_are_refused_before_the_run(toy, change: dict[str, Any], message: str) -> None:
    results = run_all(toy)
    check_results(plan_of(toy, methods=("popularity",), seeds=(2,)), toy.workspace(), results)
    suite = replace(toy.suite, **change)
    plan = plan_of(toy, suite, methods=("popularity",), seeds=(0, 1))
    with pytest.raises(HarnessError, match=rf"left-from-right/fixed-seed0\.json was made with {message}.*--output-dir"):
        check_results(plan, toy.workspace(suite), results)
    # Results that the plan overwrites are ignored.
    check_results(plan_of(toy, suite, seeds=(0, 1)), toy.workspace(suite), results)


def test_results_with_other_slices_are_refused_before_the_run(toy) -> None:
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


def test_results_with_other_data_are_refused_before_the_run(toy) -> None:
    results = run_all(toy)
    left, right = toy.suite.domains
    suite = replace(toy.suite, domains=(left, replace(right, source=Toy(seed=9))))
    plan = plan_of(toy, suite, methods=("popularity",), seeds=(0, 1))
    with pytest.raises(
        HarnessError, match=r"fixed-seed0\.json was made with other data .*\(right: [0-9a-f]{12} instead of"
    ):
        check_results(plan, toy.workspace(suite), results)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"content_digest": "2"}, "other content .*weights: 1 instead of 2"),
        ({"reference": "popularity"}, "other reference .*None instead of popularity"),
        ({"sources_too": False}, "other domains learnt from .*right instead of nothing"),
    ],
    ids=["files", "reference", "domains"],
)
def test_results_of_a_method_that_has_changed_are_refused_before_the_run(
    toy, change: dict[str, Any], message: str
) -> None:
    toy.add("changed", Parametric)
    results = run_all(toy, methods=("changed",), seeds=(0,))
    toy.add("changed", lambda: Parametric(**change))
    plan = plan_of(toy, methods=("changed",), seeds=(1,))
    with pytest.raises(HarnessError, match=rf"changed-seed0\.json was made with {message}"):
        check_results(plan, toy.workspace(), results)
    check_results(plan_of(toy, methods=("popularity",)), toy.workspace(), results)


def test_a_result_of_an_earlier_schema_is_refused(toy) -> None:
    path = next(run_all(toy).rglob("*.json"))
    raw = json.loads(path.read_text()) | {"schema_version": 3}
    path.write_text(json.dumps(raw))
    for read in (read_record, read_result):
        with pytest.raises(HarnessError, match=rf"{path.name} is a result of schema version 3, not 4\. Delete it"):
            read(Path(path))


def plan_first_scenario(toy, methods):
    return make_plan(toy.workspace(), toy.suite.scenarios[:1], methods, (0,))


@pytest.mark.parametrize("size", [31, 40, 41, 1000])
def test_too_few_items_for_sampled_candidates_are_refused(toy, size: int) -> None:
    toy.suite = toy.replace(toy.suite, candidates=("full", f"sampled-{size}"))
    with pytest.raises(HarnessError, match=rf"sampled-{size}: \d+ of 30 users have fewer than {size - 1} items"):
        plan_first_scenario(toy, ("popularity",))


def test_candidates_that_differ_from_the_pinned_ones_are_refused(toy) -> None:
    pinned = toy.replace(toy.suite.scenarios[0], pins=(("sampled-10", "0" * 64),))
    toy.suite = toy.replace(toy.suite, scenarios=(pinned,))
    with pytest.raises(HarnessError, match="sampled-10 has the digest"):
        plan_first_scenario(toy, ("popularity",))


def test_sampled_candidates_are_stored_once(toy) -> None:
    plan_first_scenario(toy, ("popularity",))
    assert len(list((toy.cache / "store" / "candidates").iterdir())) == 1


def test_a_method_that_refuses_the_data_is_skipped(toy) -> None:
    class Fussy:
        settings = NoSettings()

        def check_data(self, data):
            raise HarnessError(f"{data.target} is not to my taste.", "Choose another.")

        def fit(self, data, context):
            raise AssertionError("check_data should have refused it")

    toy.add("fussy", Fussy)
    plan = plan_first_scenario(toy, ("popularity", "fussy"))
    assert [run.method for run in plan.missing] == ["popularity"]
    assert [(run.method, run.reason) for run in plan.skipped] == [("fussy", "left is not to my taste. Choose another.")]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("toy", "Give a suite of your own another version."), ("cdsr", "Run: harness run --suite cdsr.")],
)
def test_a_retired_suite_is_not_run(toy, name: str, hint: str) -> None:
    toy.suite = replace(toy.suite, name=name, retired="its loss was another.")
    with pytest.raises(HarnessError, match=f"^{name}/v1 is retired: its loss was another. {hint}$"):
        toy.run("popularity", dry_run=True)


def test_further_methods_run_on_request(toy) -> None:
    toy.suite = replace(toy.suite, methods=("popularity",), more_methods=("markov",))
    assert {run.method for run in toy.run(dry_run=True).plan.runs} == {"popularity"}
    assert {run.method for run in toy.run(dry_run=True, all_methods=True).plan.runs} == {"popularity", "markov"}
    plan = toy.run("item-knn", dry_run=True, all_methods=True).plan
    assert {run.method for run in plan.runs} == {"item-knn", "markov"}


def test_trainings_with_equal_labels_are_told_apart() -> None:
    left, later = Scenario("a-from-b", "a", ("b",)), Scenario("a-from-b.temporal", "a", ("b",), split="temporal")

    def plan(*users: tuple[Scenario, str, str]) -> Plan:
        """A plan in which each run needs one training of the given key, all with one label."""
        runs = tuple(Run(scenario, method, number, f"r{number}") for number, (scenario, method, _) in enumerate(users))
        keys = [key for *_, key in users]
        trainings = {key: Training(key, "recbole", "SASRec on a", run) for key, run in zip(keys, runs, strict=True)}
        needs = {run.id: (key,) for run, key in zip(runs, keys, strict=True)}
        return Plan(runs, runs, tuple(trainings.values()), (), needs=needs)

    assert plan((left, "x", "k1"), (left, "y", "k1")).as_json()["trained"] == ["SASRec on a"]
    two = plan((left, "x", "k1"), (left, "y", "k2"), (left, "z", "k2"))
    assert two.as_json()["trained"] == ["SASRec on a, for x", "SASRec on a, for y, z"]
    assert two.lines()[2:] == ["    train SASRec on a, for x", "    train SASRec on a, for y, z"]
    by_split = plan((left, "x", "k1"), (later, "x", "k2"), (later, "y", "k3"))
    assert by_split.as_json()["trained"] == [
        "SASRec on a, leave-one-out",
        "SASRec on a, temporal, for x",
        "SASRec on a, temporal, for y",
    ]
    same = plan((left, "x", "0123456789"), (left, "x", "abcdefghijk"))
    assert same.as_json()["trained"] == ["SASRec on a, 01234567", "SASRec on a, abcdefgh"]
