"""What a command will do: which runs are there already, which must be made, and what must be trained for them."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.methods.api import Method, TrainsArtefacts, content_of, learns_from, reference_of, settings_of
from harness.methods.artefact import TrainingEstimate
from harness.methods.plugins import plugin_errors
from harness.protocol.scenario import Scenario, Suite
from harness.protocol.slices import slices_of
from harness.results.failure import is_failure
from harness.results.record import RunResult, difference, read_record, result_path
from harness.run.artefact import artefact_key
from harness.run.methods import check_data, code_of, method_for, unavailable
from harness.run.provenance import package_versions
from harness.run.splits import Domains, check_candidates, open_test, open_training
from harness.storage.code_identity import bound_values
from harness.storage.files import canonical_json, digest
from harness.storage.store import Store
from harness.tuning.record import Tuning


@dataclass(frozen=True)
class Run:
    """One method on one scenario with one seed; `key` names its result in the store."""

    scenario: Scenario
    method: str
    seed: int
    key: str


@dataclass(frozen=True)
class SkippedRun:
    """A run that cannot be made here, and why."""

    scenario: Scenario
    method: str
    seed: int
    reason: str


@dataclass(frozen=True)
class Training:
    """One artefact to train: its key and label, a run whose method can make it, and whether processes can share it."""

    key: str
    kind: str
    label: str
    run: Run
    shared: bool = False


@dataclass(frozen=True)
class Plan:
    """The work of one command.

    Attributes:
        runs: every run that was asked for and can be made.
        missing: those whose result is not in the store.
        trainings: artefacts that the missing runs need and the store lacks, each once.
        reused: artefacts that the missing runs need and the store has.
        estimates: by a training's key, what says how much it will take; of those that can tell.
        skipped: runs that cannot be made: a method that needs what this machine or the scenario's data lack.
    """

    runs: tuple[Run, ...]
    missing: tuple[Run, ...]
    trainings: tuple[Training, ...]
    reused: tuple[Training, ...]
    estimates: Mapping[str, Callable[[], TrainingEstimate]] = field(default_factory=dict)
    skipped: tuple[SkippedRun, ...] = ()


def make_plan(
    suite: Suite,
    scenarios: Sequence[Scenario],
    methods: Sequence[str],
    seeds: Sequence[int],
    domains: Domains,
    store: Store,
    there: Collection[Path] = (),
) -> Plan:
    """Plans some of a suite.

    Args:
        suite: the suite.
        scenarios: which of its scenarios.
        methods: names of methods.
        seeds: seeds to run each with.
        domains: the prepared domains.
        store: what was made before.
        there: results that are not asked for again, by their paths below a results folder.

    Raises:
        HarnessError: an unknown method or one with wrong settings; a scenario whose data cannot be split as it says, or
            whose target has too few items for the suite's sampled candidates; or not one of the runs can be made.
    """
    asked = [
        (scenario, name, seed)
        for scenario in scenarios
        for name in methods
        for seed in seeds
        if result_path(suite.name, suite.version, scenario.name, name, seed) not in there
    ]
    made: dict[tuple[Scenario, str], tuple[Method, Tuning | None]] = {}
    reasons: dict[tuple[Scenario, str], str] = {}
    lacking = {name: unavailable(suite, name) for name in dict.fromkeys(name for _, name, _ in asked)}
    for scenario, name in dict.fromkeys((scenario, name) for scenario, name, _ in asked):
        lacks = lacking[name]
        if lacks:
            reasons[scenario, name] = lacks
        else:
            made[scenario, name] = method_for(suite, scenario, name)
    planned = [
        Run(scenario, name, seed, _run_key(suite, scenario, name, *made[scenario, name], seed, domains))
        for scenario, name, seed in asked
        if (scenario, name) not in reasons
    ]
    absent = [run for run in planned if not store.has("run", run.key)]
    opened = {
        scenario: open_training(suite, scenario, domains) for scenario in dict.fromkeys(run.scenario for run in absent)
    }
    for scenario, training in opened.items():
        check_candidates(suite, scenario, training.target_domain, domains, store)
    for scenario, name in dict.fromkeys((run.scenario, run.method) for run in absent):
        reason = check_data(name, made[scenario, name][0], opened[scenario])
        if reason:
            reasons[scenario, name] = reason
    runs = tuple(run for run in planned if (run.scenario, run.method) not in reasons)
    missing = tuple(run for run in absent if run in runs)
    skipped = tuple(SkippedRun(*each, reasons[each[:2]]) for each in asked if each[:2] in reasons)
    if skipped and not runs:
        first = skipped[0]
        raise HarnessError(
            f"Nothing that was asked for can run here: {first.method} on {first.scenario.name}: {first.reason}",
            "Ask for other methods or scenarios.",
        )
    needed: dict[str, Training] = {}
    estimates: dict[str, Callable[[], TrainingEstimate]] = {}
    for run in missing:
        method, _ = made[run.scenario, run.method]
        if isinstance(method, TrainsArtefacts):
            with plugin_errors(run.method):
                artefacts = method.artefacts(opened[run.scenario], suite.budget, run.seed)
            for artefact in artefacts:
                key = artefact_key(artefact)
                needed.setdefault(key, Training(key, artefact.kind, artefact.label, run, artefact.shared))
                if artefact.estimate:
                    estimates.setdefault(key, artefact.estimate)
    trainings = tuple(t for t in needed.values() if not store.has(t.kind, t.key))
    reused = tuple(t for t in needed.values() if t not in trainings)
    return Plan(runs, missing, trainings, reused, estimates, skipped)


def check_results(plan: Plan, suite: Suite, domains: Domains, results: Path) -> None:
    """Finds out, before anything runs, whether what is planned can stand beside the results that are there.

    Results that the plan would write anew are not looked at.

    Args:
        plan: what is to be done.
        suite: its suite.
        domains: the prepared domains.
        results: the results folder.

    Raises:
        HarnessError: results of a scenario are there that were made with other data, another split or overlap, other
            candidates, other slices of users or another budget; or those of a method with other settings or files; or
            one cannot be read.
    """
    written = {results / result_path(suite.name, suite.version, r.scenario.name, r.method, r.seed) for r in plan.runs}
    bound: dict[tuple[Scenario, str], dict[str, object]] = {}
    for run in plan.runs:
        if (run.scenario, run.method) not in bound:
            method, _ = method_for(suite, run.scenario, run.method)
            bound[run.scenario, run.method] = {"settings": settings_of(method), "content": content_of(method)}
    for scenario in dict.fromkeys(run.scenario for run in plan.runs):
        folder = results / suite.name / f"v{suite.version}" / scenario.name
        paths = sorted(path for path in set(folder.glob("*.json")) - written if not is_failure(path))
        if not paths:
            continue
        target = open_training(suite, scenario, domains).target_domain
        slices = slices_of(open_test(suite, scenario, domains), target)
        expected = {
            **suite.conditions(scenario, domains.fingerprints),
            "slices": {name: int(members.sum()) for name, members in slices.items()},
        }
        for path in paths:
            result = read_record(path)
            own = bound.get((scenario, result.method), {})
            _check_beside(path, result, expected, own, suite)


def _check_beside(
    path: Path, result: RunResult, expected: Mapping[str, object], own: Mapping[str, object], suite: Suite
) -> None:
    there = {**result.conditions, "slices": result.slices, "settings": result.settings, "content": result.content}
    planned_aspects: dict[str, Any] = json.loads(canonical_json({**expected, **own}))  # tuples become lists
    for aspect, planned in planned_aspects.items():
        if there[aspect] != planned:
            raise HarnessError(
                f"{path} was made with other {aspect} than {suite.id} has now "
                f"({difference(there[aspect], planned)}): results of both cannot stand in one table.",
                "Delete the file or run it again too, choose another --output-dir, or give the suite a new version.",
            )


def _run_key(
    suite: Suite, scenario: Scenario, name: str, method: Method, tuning: Tuning | None, seed: int, domains: Domains
) -> str:
    return digest(
        {
            "suite": suite.id,
            "scenario": [scenario.name, scenario.target, list(scenario.sources)],
            "conditions": suite.conditions(scenario, domains.fingerprints),
            "method": name,
            "settings": settings_of(method),
            # What it holds beside its settings, such as the parameters of a merging rule.
            "holds": bound_values(method),
            "content": content_of(method),
            "learns_from": learns_from(method, scenario.target, scenario.sources),
            "reference": reference_of(method),
            "tuning": None if tuning is None else tuning.model_dump(mode="json"),
            "seed": seed,
            "code": code_of(suite, name, method),
            "packages": package_versions(),
        }
    )
