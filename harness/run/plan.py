"""Plan a command: which runs are in the cache, which are missing, and what must be trained for them."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.evaluation.candidate_sets import candidate_sets_code
from harness.methods.api import Method, TrainsArtefacts, content_of, learns_from, reference_of, settings_of
from harness.methods.artefact import Artefact, TrainingEstimate
from harness.methods.error_origin import method_errors
from harness.protocol.scenario import Scenario
from harness.protocol.slices import installed_slices_code, slices_of
from harness.protocol.split import TrainingData
from harness.protocol.suite import Suite
from harness.results.check import difference
from harness.results.failure import is_failure
from harness.results.files import read_record
from harness.results.record import RunResult, result_path
from harness.run.artefact import artefact_key
from harness.run.methods import check_data, check_files, code_of, method_for, unavailable
from harness.run.provenance import package_versions
from harness.run.scenario_data import check_candidates, open_test, open_training
from harness.run.workspace import Workspace
from harness.storage.code_identity import bound_values
from harness.storage.files import canonical_json, digest
from harness.tuning.record import Tuning


@dataclass(frozen=True)
class Run:
    """One method on one scenario with one seed; `key` names its result in the store."""

    scenario: Scenario
    method: str
    seed: int
    key: str

    @property
    def id(self) -> str:
        """A short name: `drama-from-action/sasrec-seed0`."""
        return f"{self.scenario.name}/{self.method}-seed{self.seed}"

    @property
    def label(self) -> str:
        """A name for people: `sasrec on drama-from-action, seed 0`."""
        return f"{self.method} on {self.scenario.name}, seed {self.seed}"


@dataclass(frozen=True)
class SkippedRun:
    """A run that cannot be made here, and why."""

    scenario: Scenario
    method: str
    seed: int
    reason: str

    @property
    def id(self) -> str:
        """A short name, as that of a `Run`."""
        return f"{self.scenario.name}/{self.method}-seed{self.seed}"


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
        runs: every requested run that can be made.
        missing: those whose result is not in the store.
        trainings: artefacts that the missing runs need and the store lacks, each once.
        reused: artefacts that the missing runs need and the store has.
        estimates: by a training's key, a function that estimates its cost, where there is one.
        skipped: requested runs that cannot be made: a method needs what this machine or the scenario's data lack.
        needs: by a missing run's id, the keys of all artefacts that it needs.
        methods: by scenario and name, the methods as the scenarios run them.
    """

    runs: tuple[Run, ...]
    missing: tuple[Run, ...]
    trainings: tuple[Training, ...]
    reused: tuple[Training, ...]
    estimates: Mapping[str, Callable[[], TrainingEstimate]] = field(default_factory=dict)
    skipped: tuple[SkippedRun, ...] = ()
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    methods: Mapping[tuple[Scenario, str], Method] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The plan for people: counts, trainings, and a line for all skipped runs with one reason."""
        skipped: dict[str, dict[str, None]] = {}
        for run in self.skipped:
            skipped.setdefault(run.reason, {})[f"{run.method} on {run.scenario.name}"] = None
        present = len(self.runs) - len(self.missing)
        return [
            f"  runs:     {len(self.runs)}: {present} in the cache, {len(self.missing)} to be made",
            f"  training: {len(self.trainings)} to be trained, {len(self.reused)} reused",
            *(f"    train {self.labels[training.key]}" for training in self.trainings),
            *(f"    reuse {self.labels[training.key]}" for training in self.reused),
            *(f"  skipped:  {', '.join(runs)}: {reason}" for reason, runs in skipped.items()),
        ]

    @cached_property
    def labels(self) -> dict[str, str]:
        """The label of each training by its key; where labels are equal, with what tells the trainings apart."""
        users: dict[str, list[Run]] = {}
        for run in self.missing:
            for key in self.needs.get(run.id, ()):
                users.setdefault(key, []).append(run)
        labels = {training.key: training.label for training in (*self.trainings, *self.reused)}
        for aspect in (_split_of, _overlap_of, _methods_of, _scenarios_of):
            labels = _told_apart(labels, {key: aspect(users.get(key, ())) for key in labels})
        return _told_apart(labels, {key: key[:8] for key in labels})

    def as_json(self) -> dict[str, object]:
        """The plan as JSON values."""
        return {
            "runs": len(self.runs),
            "missing": [run.id for run in self.missing],
            "trained": [self.labels[training.key] for training in self.trainings],
            "reused": [self.labels[training.key] for training in self.reused],
            "skipped": {run.id: run.reason for run in self.skipped},
        }


def _told_apart(labels: Mapping[str, str], details: Mapping[str, str]) -> dict[str, str]:
    """Labels by key, with a detail added to those that are equal and have different details."""
    by_label: dict[str, set[str]] = {}
    for key, label in labels.items():
        by_label.setdefault(label, set()).add(details[key])
    return {
        key: f"{label}, {details[key]}" if len(by_label[label]) > 1 and details[key] else label
        for key, label in labels.items()
    }


def _split_of(runs: Sequence[Run]) -> str:
    return ", ".join(sorted({run.scenario.split for run in runs}))


def _overlap_of(runs: Sequence[Run]) -> str:
    return ", ".join(sorted({f"shared users {run.scenario.overlap}" for run in runs}))


def _methods_of(runs: Sequence[Run]) -> str:
    return f"for {', '.join(sorted({run.method for run in runs}))}"


def _scenarios_of(runs: Sequence[Run]) -> str:
    return f"on {', '.join(sorted({run.scenario.name for run in runs}))}"


#: A method as a scenario runs it, and the tuning that its settings come from.
_Configured = tuple[Method, Tuning | None]


def make_plan(
    workspace: Workspace,
    scenarios: Sequence[Scenario],
    methods: Sequence[str],
    seeds: Sequence[int],
    existing: Collection[Path] = (),
    keep_lists: bool = True,
) -> Plan:
    """Plan a part of a suite.

    Args:
        workspace: the suite, its data and the store.
        scenarios: some of the suite's scenarios.
        methods: names of methods.
        seeds: seeds of each method.
        existing: paths of results to leave out of the plan, relative to the results folder.
        keep_lists: whether results keep each user's top-k list.

    Raises:
        HarnessError: an unknown method or one with wrong settings; a scenario whose data cannot be split as it says, or
            whose target has too few items for the suite's sampled candidates; or no run can be made.
    """
    suite, store = workspace.suite, workspace.store
    requested = [
        (scenario, name, seed)
        for scenario in scenarios
        for name in methods
        for seed in seeds
        if result_path(suite.name, suite.version, scenario.name, name, seed) not in existing
    ]
    pairs = dict.fromkeys((scenario, name) for scenario, name, _ in requested)
    missing_parts = {name: unavailable(suite, name) for name in dict.fromkeys(name for _, name in pairs)}
    reasons = {pair: reason for pair in pairs if (reason := missing_parts[pair[1]])}
    configured = {pair: method_for(suite, *pair) for pair in pairs if pair not in reasons}
    runs = [
        Run(scenario, name, seed, run_key(workspace, scenario, name, *configured[scenario, name], seed, keep_lists))
        for scenario, name, seed in requested
        if (scenario, name) in configured
    ]
    missing = [run for run in runs if not store.has("run", run.key)]
    data = {scenario: open_training(workspace, scenario) for scenario in dict.fromkeys(r.scenario for r in missing)}
    for scenario, training in data.items():
        check_candidates(workspace, scenario, training.target_domain)
    for pair in dict.fromkeys((run.scenario, run.method) for run in missing):
        if reason := check_data(pair[1], configured[pair][0], data[pair[0]]):
            reasons[pair] = reason
    runs = [run for run in runs if (run.scenario, run.method) not in reasons]
    skipped = tuple(SkippedRun(*request, reasons[request[:2]]) for request in requested if request[:2] in reasons)
    if skipped and not runs:
        first = skipped[0]
        raise HarnessError(
            f"No requested run can be made here: {first.method} on {first.scenario.name}: {first.reason}",
            "Ask for other methods or scenarios.",
        )
    missing = [run for run in missing if run in runs]
    artefacts = {run.id: _artefacts(workspace, run, configured, data) for run in missing}
    needs = {run.id: tuple(artefact_key(artefact) for artefact in artefacts[run.id]) for run in missing}
    needed: dict[str, Training] = {}
    estimates: dict[str, Callable[[], TrainingEstimate]] = {}
    for run in missing:
        for key, artefact in zip(needs[run.id], artefacts[run.id], strict=True):
            needed.setdefault(key, Training(key, artefact.kind, artefact.label, run, artefact.shared))
            if artefact.estimate:
                estimates.setdefault(key, artefact.estimate)
    trainings = tuple(training for training in needed.values() if not store.has(training.kind, training.key))
    reused = tuple(training for training in needed.values() if training not in trainings)
    methods_of = {pair: method for pair, (method, _) in configured.items()}
    return Plan(tuple(runs), tuple(missing), trainings, reused, estimates, skipped, needs, methods_of)


def _artefacts(
    workspace: Workspace,
    run: Run,
    configured: Mapping[tuple[Scenario, str], _Configured],
    data: Mapping[Scenario, TrainingData],
) -> Sequence[Artefact]:
    """The artefacts that a run needs."""
    method, _ = configured[run.scenario, run.method]
    if not isinstance(method, TrainsArtefacts):
        return ()
    with method_errors(run.method):
        return list(method.artefacts(data[run.scenario], workspace.suite.budget, run.seed))


def check_plan(plan: Plan, suite: Suite) -> None:
    """Check the files that methods of the missing runs need, before a run that would fail hours later.

    Raises:
        HarnessError: a file is missing or incomplete.
    """
    for scenario, name in dict.fromkeys((run.scenario, run.method) for run in plan.missing):
        check_files(suite, name, plan.methods[scenario, name])


def check_results(plan: Plan, workspace: Workspace, results: Path) -> None:
    """Check, before anything runs, that the planned results can stand beside those in the results folder.

    Results that the plan overwrites are ignored.

    Raises:
        HarnessError: results of a scenario were made with other data, another split or overlap, other candidates,
            other slices of users or another budget; or those of a method with other settings or files, another
            reference or other domains learnt from; or one cannot be read.
    """
    suite = workspace.suite
    overwritten = {
        results / result_path(suite.name, suite.version, r.scenario.name, r.method, r.seed) for r in plan.runs
    }
    method_conditions: dict[tuple[Scenario, str], dict[str, object]] = {}
    for run in plan.runs:
        if (run.scenario, run.method) not in method_conditions:
            method = plan.methods[run.scenario, run.method]
            method_conditions[run.scenario, run.method] = {
                "settings": settings_of(method),
                "content": content_of(method),
                "reference": reference_of(method),
                "domains learnt from": learns_from(method, run.scenario.target, run.scenario.sources),
            }
    for scenario in dict.fromkeys(run.scenario for run in plan.runs):
        of_scenario = {name: aspects for (of, name), aspects in method_conditions.items() if of == scenario}
        check_beside(workspace, scenario, results, overwritten, of_scenario)


def check_beside(
    workspace: Workspace,
    scenario: Scenario,
    results: Path,
    overwritten: Set[Path],
    method_conditions: Mapping[str, Mapping[str, object]],
) -> None:
    """Check that new results of a scenario can stand beside those in the results folder.

    Args:
        workspace: the suite and its data.
        scenario: one of the suite's.
        results: the results folder.
        overwritten: paths of results that the new ones replace.
        method_conditions: what all seeds of a method must share, by the method's name.

    Raises:
        HarnessError: a result was made under other conditions, or cannot be read.
    """
    suite = workspace.suite
    folder = results / suite.name / f"v{suite.version}" / scenario.name
    paths = sorted(path for path in set(folder.glob("*.json")) - overwritten if not is_failure(path))
    if not paths:
        return
    target = open_training(workspace, scenario).target_domain
    slices = slices_of(open_test(workspace, scenario), target)
    expected = {
        **suite.conditions(scenario, workspace.fingerprints),
        "slices": {name: int(members.sum()) for name, members in slices.items()},
    }
    for path in paths:
        result = read_record(path)
        _check_result(path, result, {**expected, **method_conditions.get(result.method, {})}, suite)


def _check_result(path: Path, result: RunResult, expected: Mapping[str, object], suite: Suite) -> None:
    actual = {
        **result.conditions,
        "slices": result.slices,
        "settings": result.settings,
        "content": result.content,
        "reference": result.reference,
        "domains learnt from": list(result.learns_from),
    }
    planned: dict[str, Any] = json.loads(canonical_json(expected))  # tuples become lists
    # A slice may be newer than the result.
    planned["slices"] = {name: users for name, users in planned["slices"].items() if name in result.slices}
    actual["slices"] = {name: users for name, users in result.slices.items() if name in planned["slices"]}
    for aspect, value in planned.items():
        if actual[aspect] != value:
            raise HarnessError(
                f"{path} was made with other {aspect} than {suite.id} has now "
                f"({difference(actual[aspect], value)}): results of both cannot stand in one table.",
                "Delete the file or run it again too, choose another --output-dir, or give the suite a new version.",
            )


def run_key(
    workspace: Workspace,
    scenario: Scenario,
    name: str,
    method: Method,
    tuning: Tuning | None,
    seed: int,
    keep_lists: bool,
) -> str:
    """The key of a run's result in the store: a digest of all that decides it, the code included.

    Args:
        workspace: the suite and its data.
        scenario: one of the suite's.
        name: of the method.
        method: the method as the scenario runs it.
        tuning: where its settings come from; None for the suite's.
        seed: of the run.
        keep_lists: whether the result keeps each user's top-k list.
    """
    suite = workspace.suite
    return digest(
        {
            "suite": suite.id,
            "scenario": [scenario.name, scenario.target, list(scenario.sources)],
            "conditions": suite.conditions(scenario, workspace.fingerprints),
            # Results record both, and other packages' candidate sets may use them.
            "candidate_seed": suite.candidate_seed,
            "least_recall": suite.least_recall,
            "method": name,
            "settings": settings_of(method),
            # Values that the method holds besides its settings, such as the parameters of a merging rule.
            "holds": bound_values(method),
            "content": content_of(method),
            "learns_from": learns_from(method, scenario.target, scenario.sources),
            "reference": reference_of(method),
            "tuning": None if tuning is None else tuning.model_dump(mode="json"),
            "seed": seed,
            "code": code_of(suite, name, method),
            "candidate_sets": candidate_sets_code(suite.candidates),
            "slices": installed_slices_code(),
            "packages": package_versions(),
            **({} if keep_lists else {"lists": False}),
        }
    )
