"""One run from start to end: fit, then open the test split, rank, and store the result."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from harness import __version__
from harness.errors import HarnessError
from harness.evaluation.candidate_sets import NotApplicable, RankContext, Ranking, make_candidate_set
from harness.methods.api import (
    DotProduct,
    FitContext,
    ReportsPromptOrder,
    ReportsValidity,
    Scorer,
    content_of,
    learns_from,
    reference_of,
    settings_of,
)
from harness.methods.artefact import StepCallback
from harness.methods.registry import packages_of
from harness.protocol.candidate_names import candidate_count
from harness.protocol.leakage import audit
from harness.protocol.metrics import per_user
from harness.protocol.overlap import user_ids_in_files
from harness.protocol.recommendations import LIST_LENGTH
from harness.protocol.scenario import Scenario
from harness.protocol.slices import slices_of
from harness.protocol.split import DomainTraining, HeldOut, TrainingData
from harness.protocol.suite import Suite
from harness.results.files import ITEMS, LISTS, RANKS, USERS
from harness.results.lists_table import lists_to_parquet
from harness.results.ranks_table import RankTable
from harness.results.record import (
    CandidatesRecord,
    Code,
    Cost,
    DomainRecord,
    LeakageRecord,
    Provenance,
    RunResult,
    ScenarioRecord,
)
from harness.results.users import CatalogueItems, TestUsers
from harness.run.artefact import RunArtefacts
from harness.run.energy import EnergyMeter, without
from harness.run.memory import PeakMemory
from harness.run.methods import check_tuned_on, method_for
from harness.run.plan import Run
from harness.run.provenance import HARNESS_CODE, git_state, hardware, package_versions
from harness.run.scenario_data import check_pinned, open_test, open_training
from harness.run.workspace import Workspace
from harness.storage.code_identity import source_digest
from harness.storage.files import file_digest


def score(
    workspace: Workspace,
    run: Run,
    report: StepCallback,
    failed: Mapping[str, str] = MappingProxyType({}),
    keep_lists: bool = True,
) -> None:
    """Makes one run and stores its result, ranks and recommendation lists.

    Args:
        workspace: the suite, its data, the store that holds artefacts and takes the result, and the device.
        run: which of the suite's runs.
        report: progress callback, (steps done, steps).
        failed: by key, why trainings have failed already.
        keep_lists: whether to store each test user's recommendation list.

    Raises:
        HarnessError: bad data, a corrupt artefact, or one whose training failed.
        InvalidScoresError: the method's scores hold NaN or have the wrong shape.
    """
    suite, store, device = workspace.suite, workspace.store, workspace.device
    artefacts = RunArtefacts(store, device, report, failed, workspace.energy)
    with EnergyMeter(workspace.energy) as meter, PeakMemory(device) as peak:
        started = time.perf_counter()
        training = open_training(workspace, run.scenario)
        context = FitContext(suite.budget, run.seed, device, artefacts)
        method, tuning = method_for(suite, run.scenario, run.method)
        check_tuned_on(suite, run.method, tuning, training)
        scorer = method.fit(training, context)
        fitted = time.perf_counter()
        test = open_test(workspace, run.scenario)
        rankings = rank_test(workspace, run.scenario, training.target_domain, test, scorer, report, keep_lists)
        scored = time.perf_counter()
    cost = Cost(
        fit_s=round(fitted - started, 3),
        score_s=round(scored - fitted, 3),
        peak_memory_mb=peak.megabytes(),
        peak_gpu_memory_mb=peak.gpu_megabytes(),
        artefacts=tuple(artefacts.costs),
        energy=without(meter.record, artefacts.tracked),
    )
    if meter.failure:
        store.tell(f"The energy of {run.label} was not tracked: {meter.failure}")
    described = {
        "settings": settings_of(method),
        "tuning": tuning,
        "content": content_of(method),
        "learns_from": learns_from(method, run.scenario.target, run.scenario.sources),
        "reference": reference_of(method),
        "training": tuple(artefacts.records),
    }
    source = source_digest(*HARNESS_CODE, *packages_of(suite.base_method(run.method)))
    outcome = Outcome(training, test, rankings, described, source, cost)
    with store.write("run", run.key, {"label": f"{run.method} on {run.scenario.name}, seed {run.seed}"}) as folder:
        write_result(folder, workspace, run, outcome)


@dataclass(frozen=True)
class Outcome:
    """All that a result is made from.

    Attributes:
        training: the scenario's training data.
        test: its test events.
        rankings: by candidate set.
        described: fields of the result that describe the method and its trainings.
        source: SHA-256 of the code that made it.
        cost: of the run.
        drawn: by name, SHA-256 of drawn candidates, also of those that the scorer could not be ranked among.
    """

    training: TrainingData
    test: HeldOut
    rankings: Mapping[str, Ranking | NotApplicable]
    described: Mapping[str, Any]
    source: str
    cost: Cost
    drawn: Mapping[str, str] = field(default_factory=dict)


def write_result(folder: Path, workspace: Workspace, run: Run, outcome: Outcome) -> None:
    """Writes a run's result with its ranks, users and lists into a folder."""
    suite, training, test, rankings = workspace.suite, outcome.training, outcome.test, outcome.rankings
    target = training.target_domain
    ranks = {name: ranking.ranks for name, ranking in rankings.items() if isinstance(ranking, Ranking)}
    table, users = RankTable(ranks, slices_of(test, target)), tested_users(suite, training, test)
    (folder / RANKS).write_bytes(table.to_parquet())
    (folder / USERS).write_bytes(users.to_parquet())
    items = _write_lists(folder, rankings["full"], target)
    result = RunResult(
        key=run.key,
        suite=suite.name,
        suite_version=suite.version,
        scenario=_scenario_record(suite, run, target.split),
        method=run.method,
        **outcome.described,
        seed=run.seed,
        budget=asdict(suite.budget),
        data={name: domain_record(workspace, domain) for name, domain in training.domains.items()},
        leakage=leakage_record(training, test),
        candidates={
            name: _candidates_record(name, ranking, table, outcome.drawn.get(name))
            for name, ranking in rankings.items()
        },
        candidate_seed=suite.candidate_seed,
        least_recall=suite.least_recall,
        test_users=suite.test_users,
        user_limit=suite.user_limit,
        left_out=len(target.user_ids) - len(test.targets),
        slices={name: int(members.sum()) for name, members in table.slices.items()},
        validity=_statistics(rankings, "validity"),
        prompt_order=_statistics(rankings, "prompt_order"),
        ranks_sha256=file_digest(folder / RANKS),
        users_sha256=users.digest,
        lists_sha256=file_digest(folder / LISTS) if items else None,
        items_sha256=items.digest if items else None,
        code=Code(version=__version__, source=outcome.source),
        packages=package_versions(),
        provenance=_provenance(workspace.device),
        cost=outcome.cost,
    )
    (folder / "result.json").write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")


def tested_users(suite: Suite, training: TrainingData, test: HeldOut) -> TestUsers:
    """The test users and their held-out items, in the order of the rows of ranks."""
    target = training.target_domain
    ids = user_ids_in_files(target, suite.spec(target.name).source.users)
    return TestUsers(
        tuple(ids[user] for user in test.histories.users),
        tuple(target.catalogue.item_ids[item] for item in test.targets),
    )


def rank_test(
    workspace: Workspace,
    scenario: Scenario,
    target: DomainTraining,
    test: HeldOut,
    scorer: Scorer,
    report: StepCallback,
    keep_lists: bool = False,
) -> dict[str, Ranking | NotApplicable]:
    """Rank a scenario's held-out items among each of the suite's candidate sets.

    Returns:
        By name of the candidate set: the ranking, or why there is none.

    Raises:
        HarnessError: drawn candidates are not those that the suite pins, or an index finds too little.
        InvalidScoresError: NaN, or scores of the wrong shape or type.
    """
    rankings: dict[str, Ranking | NotApplicable] = {}
    suite = workspace.suite
    for index, name in enumerate(suite.candidates):
        progress = partial(_report_part, report, index, len(suite.candidates))
        length = LIST_LENGTH if keep_lists else 0
        context = RankContext(workspace.store, suite.candidate_seed, suite.least_recall, length, progress)
        ranking = make_candidate_set(name).rank(scorer, test, target, context)
        if isinstance(ranking, Ranking):
            check_pinned(suite, scenario, name, ranking.digest)
            if isinstance(scorer, ReportsValidity) and (validity := scorer.validity())["answers"]:
                ranking = replace(ranking, validity=validity)
            if isinstance(scorer, ReportsPromptOrder) and (order := scorer.prompt_order())["users"]:
                ranking = replace(ranking, prompt_order=order)
        rankings[name] = ranking
    if isinstance(scorer, DotProduct):
        for name, ranking in rankings.items():
            _check_retrieved(scenario.name, name, ranking, rankings["full"])
    return rankings


def _candidates_record(
    name: str, ranking: Ranking | NotApplicable, table: RankTable, drawn: str | None
) -> CandidatesRecord:
    description = make_candidate_set(name).description or None
    if isinstance(ranking, NotApplicable):
        return CandidatesRecord(digest=drawn, metrics=None, absent=ranking.reason, description=description)
    index, unscored = ranking.index, ranking.ranks.unscored
    return CandidatesRecord(
        digest=ranking.digest,
        metrics=table.metrics(name),
        index=index.kind if index else None,
        recall=index.recall if index else None,
        recall_interval=index.interval if index else None,
        recall_users=index.users or None if index else None,
        unscored=0 if unscored is None else int(unscored.sum()),
        description=description,
    )


def _statistics(
    rankings: Mapping[str, Ranking | NotApplicable], name: Literal["validity", "prompt_order"]
) -> dict[str, dict[str, float]] | None:
    """By candidate set, statistics that a scorer reported; None without any."""
    reported = {key: dict(getattr(r, name)) for key, r in rankings.items() if isinstance(r, Ranking)}
    return {key: statistics for key, statistics in reported.items() if statistics} or None


def _write_lists(folder: Path, full: Ranking | NotApplicable, target: DomainTraining) -> CatalogueItems | None:
    """Writes the recommendation lists and their catalogue, and gives the latter; None if there are no lists."""
    if not isinstance(full, Ranking) or full.recommendations is None:
        return None
    counts = np.bincount(target.train.items, minlength=len(target.catalogue))
    items = CatalogueItems(target.catalogue.item_ids, counts)
    (folder / LISTS).write_bytes(lists_to_parquet(full.recommendations, items.item_ids))
    (folder / ITEMS).write_bytes(items.to_parquet())
    return items


def _check_retrieved(label: str, name: str, retrieved: Ranking | NotApplicable, full: Ranking | NotApplicable) -> None:
    """Checks that an exact index over the scorer's own dot products retrieves the best items of `full`.

    One user in a hundred may differ: encoders on a GPU do not always round the same way, and near ties change order.

    Raises:
        HarnessError: the metrics up to the number retrieved differ.
    """
    if not isinstance(retrieved, Ranking) or not isinstance(full, Ranking):
        return
    if retrieved.index is None or retrieved.index.kind != "exact":
        return
    expected = per_user(full.ranks)
    differ = np.zeros(len(full.ranks.above), dtype=bool)
    for metric, values in per_user(retrieved.ranks).items():
        if int(metric.partition("@")[2]) <= candidate_count(name):
            differ |= np.abs(values - expected[metric]) > 1e-9
    if differ.sum() > max(1, len(differ) // 100):
        raise HarnessError(
            f"{label}: {name} differs from full for {differ.sum():,} of {len(differ):,} users, though a DotProduct's "
            "scores are the dot products that an exact index searches.",
            "Make the scorer's scores the dot products of its vectors, or derive it from VectorScorer instead.",
        )


def _report_part(report: StepCallback, index: int, parts: int, done: int, total: int) -> None:
    """Reports the progress of one of several parts of equal length."""
    report(index * total + done, parts * total)


def _scenario_record(suite: Suite, run: Run, split: str) -> ScenarioRecord:
    return ScenarioRecord(
        name=run.scenario.name,
        target=run.scenario.target,
        sources=run.scenario.sources,
        split=split,
        overlap=run.scenario.overlap,
        overlap_seed=run.scenario.overlap_seed,
        k_core={name: suite.spec(name).k_core for name in run.scenario.domains},
    )


def domain_record(workspace: Workspace, domain: DomainTraining) -> DomainRecord:
    """A domain's content and size, as results record them."""
    return DomainRecord(
        fingerprint=workspace.fingerprints[domain.name],  # of the whole domain, also where shared users left it
        source=workspace.suite.spec(domain.name).source.model_dump(mode="json", exclude_none=True),
        timed=domain.timed,
        users=len(domain.user_ids),
        items=len(domain.catalogue),
        training_interactions=len(domain.train.items),
        validation_users=len(domain.validation.targets),
        ties=workspace.ties.get(domain.name),
    )


def leakage_record(training: TrainingData, test: HeldOut) -> LeakageRecord:
    """The audit of a scenario's split, as results record it."""
    leakage = audit(training, test)
    if leakage is None:
        untimed = ", ".join(sorted(name for name, domain in training.domains.items() if not domain.timed))
        return LeakageRecord(unknown=f"no timestamps in {untimed}")
    return LeakageRecord(**asdict(leakage))


def _provenance(device: str) -> Provenance:
    commit, clean = git_state()
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return Provenance(created=created, commit=commit, clean=clean, device=device, hardware=hardware(device))
