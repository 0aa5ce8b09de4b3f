"""One run, start to end: fit, then open the test split, score, and keep the result."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType

import numpy as np

from harness import __version__
from harness.errors import HarnessError
from harness.evaluation.ann_index import IndexReport
from harness.evaluation.rank import rank_candidates, rank_full, rank_retrieved
from harness.methods.api import (
    DotProduct,
    FitContext,
    ReportsValidity,
    Scorer,
    VectorScorer,
    content_of,
    learns_from,
    reference_of,
    settings_of,
)
from harness.methods.artefact import StepCallback
from harness.methods.registry import packages_of
from harness.protocol.candidates import CandidateSet, candidates_digest
from harness.protocol.leakage import audit
from harness.protocol.metrics import per_user
from harness.protocol.overlap import own_ids
from harness.protocol.ranks import Ranks
from harness.protocol.scenario import Suite
from harness.protocol.slices import slices_of
from harness.protocol.split import DomainTraining, HeldOut, TrainingData
from harness.results.record import (
    CandidatesRecord,
    Code,
    Cost,
    DomainRecord,
    LeakageRecord,
    Provenance,
    RankTable,
    RunResult,
    ScenarioRecord,
    TestUsers,
)
from harness.run.artefact import RunArtefacts
from harness.run.memory import PeakMemory
from harness.run.methods import check_tuned_on, method_for
from harness.run.plan import Run
from harness.run.provenance import HARNESS_CODE, git_state, hardware, package_versions
from harness.run.splits import Domains, open_candidates, open_test, open_training
from harness.storage.code_identity import source_digest
from harness.storage.files import file_digest
from harness.storage.store import Store


def score(
    suite: Suite,
    run: Run,
    domains: Domains,
    store: Store,
    device: str,
    report: StepCallback,
    failed: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Makes one run and stores its result and ranks.

    Args:
        suite: the suite.
        run: which of its runs.
        domains: the prepared domains.
        store: where artefacts are, and the result goes.
        device: `cpu` or `cuda`.
        report: told how far it is.
        failed: by key, why trainings have failed already.

    Raises:
        HarnessError: bad data, a corrupt artefact, or one whose training failed.
        InvalidScoresError: the method's scores hold NaN or have the wrong shape.
    """
    artefacts = RunArtefacts(store, device, report, failed)
    with PeakMemory(device) as peak:
        started = time.perf_counter()
        training = open_training(suite, run.scenario, domains)
        context = FitContext(suite.budget, run.seed, device, artefacts)
        method, tuning = method_for(suite, run.scenario, run.method)
        check_tuned_on(suite, run.method, tuning, training)
        scorer = method.fit(training, context)
        fitted = time.perf_counter()
        test = open_test(suite, run.scenario, domains)
        table, records, validity = _rank(suite, run, training, test, scorer, store, report)
        scored = time.perf_counter()
    ranks, users = table.to_parquet(), tested_users(suite, training, test)
    with store.write("run", run.key, {"label": f"{run.method} on {run.scenario.name}, seed {run.seed}"}) as folder:
        (folder / "ranks.parquet").write_bytes(ranks)
        (folder / "users.parquet").write_bytes(users.to_parquet())
        commit, clean = git_state()
        result = RunResult(
            key=run.key,
            suite=suite.name,
            suite_version=suite.version,
            scenario=ScenarioRecord(
                name=run.scenario.name,
                target=run.scenario.target,
                sources=run.scenario.sources,
                split=training.target_domain.split,
                overlap=run.scenario.overlap,
                overlap_seed=run.scenario.overlap_seed,
                k_core={name: suite.spec(name).k_core for name in run.scenario.domains},
            ),
            method=run.method,
            settings=settings_of(method),
            tuning=tuning,
            content=content_of(method),
            learns_from=learns_from(method, run.scenario.target, run.scenario.sources),
            reference=reference_of(method),
            seed=run.seed,
            budget=asdict(suite.budget),
            data={name: _domain_record(suite, domain, domains) for name, domain in training.domains.items()},
            leakage=_leakage_record(training, test),
            candidates=records,
            candidate_seed=suite.candidate_seed,
            least_recall=suite.least_recall,
            left_out=len(training.target_domain.user_ids) - len(test.targets),
            slices={name: int(members.sum()) for name, members in table.slices.items()},
            validity=validity or None,
            training=tuple(artefacts.records),
            ranks_sha256=file_digest(folder / "ranks.parquet"),
            users_sha256=users.digest,
            code=Code(
                version=__version__, source=source_digest(*HARNESS_CODE, *packages_of(suite.base_method(run.method)))
            ),
            packages=package_versions(),
            provenance=Provenance(
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                commit=commit,
                clean=clean,
                device=device,
                hardware=hardware(device),
            ),
            cost=Cost(
                fit_s=round(fitted - started, 3),
                score_s=round(scored - fitted, 3),
                peak_memory_mb=peak.megabytes(),
                peak_gpu_memory_mb=peak.gpu_megabytes(),
                artefacts=tuple(artefacts.costs),
            ),
        )
        (folder / "result.json").write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")


def tested_users(suite: Suite, training: TrainingData, test: HeldOut) -> TestUsers:
    """Who is tested, and on what: in the order of the rows of the ranks."""
    target = training.target_domain
    ids = own_ids(target, suite.spec(target.name).source.users)
    return TestUsers(
        tuple(ids[user] for user in test.histories.users),
        tuple(target.catalogue.item_ids[item] for item in test.targets),
    )


def _rank(
    suite: Suite,
    run: Run,
    training: TrainingData,
    test: HeldOut,
    scorer: Scorer,
    store: Store,
    report: StepCallback,
) -> tuple[RankTable, dict[str, CandidatesRecord], dict[str, dict[str, float]]]:
    target = training.target_domain
    n_items = len(target.catalogue)
    ranks: dict[str, Ranks] = {}
    digests: dict[str, str] = {}
    indexes: dict[str, IndexReport] = {}
    absent: dict[str, str] = {}
    validity: dict[str, dict[str, float]] = {}
    for place, kind in enumerate(suite.candidates):
        name, told = str(kind), partial(_part_of, report, place, len(suite.candidates))
        if kind.kind == "sampled":
            drawn = open_candidates(suite, run.scenario, target, test, kind, store)
            digests[name] = candidates_digest(drawn)
            ranks[name] = rank_candidates(scorer, test, drawn, n_items, told)
        elif kind.kind != "retrieved":
            ranks[name] = rank_full(scorer, test, n_items, kind.kind == "full-history-kept", told)
        elif isinstance(scorer, VectorScorer):
            ranks[name], indexes[name] = rank_retrieved(scorer, test, kind.size, suite.least_recall, report=told)
        else:
            absent[name] = "no item vectors to retrieve with"
        if isinstance(scorer, ReportsValidity) and (found := scorer.validity())["answers"]:
            validity[name] = dict(found)
    for kind in suite.candidates:
        index = indexes.get(str(kind))
        if index and index.kind == "exact" and isinstance(scorer, DotProduct):
            _check_retrieved(f"{run.method} on {run.scenario.name}", kind, ranks[str(kind)], ranks["full"])
    table = RankTable(ranks, slices_of(test, target))
    records = {
        name: CandidatesRecord(
            digest=digests.get(name),
            metrics=table.metrics(name) if name in ranks else None,
            absent=absent.get(name),
            index=indexes[name].kind if name in indexes else None,
            recall=indexes[name].recall if name in indexes else None,
            recall_interval=indexes[name].interval if name in indexes else None,
            recall_users=indexes[name].users or None if name in indexes else None,
            unscored=_unscored(ranks[name]) if name in ranks else None,
        )
        for name in map(str, suite.candidates)
    }
    return table, records, validity


def _unscored(ranks: Ranks) -> int:
    return 0 if ranks.unscored is None else int(ranks.unscored.sum())


def _check_retrieved(label: str, kind: CandidateSet, retrieved: Ranks, full: Ranks) -> None:
    """Where the scores are the dot products that an exact index searches, its nearest are the first of `full`.

    One user in a hundred may differ: encoders on a GPU do not always round the same way, and near ties change places.

    Raises:
        HarnessError: the metrics up to the number retrieved differ.
    """
    ours, theirs = per_user(retrieved), per_user(full)
    differ = np.zeros(len(full.above), dtype=bool)
    for name, values in ours.items():
        if int(name.partition("@")[2]) <= kind.size:
            differ |= np.abs(values - theirs[name]) > 1e-9
    if differ.sum() > max(1, len(differ) // 100):
        raise HarnessError(
            f"{label}: {kind} differs from full for {differ.sum():,} of {len(differ):,} users, though a DotProduct's "
            "scores are the dot products that an exact index searches.",
            "Make the scorer's scores the dot products of its vectors, or derive it from VectorScorer instead.",
        )


def _part_of(report: StepCallback, place: int, parts: int, done: int, total: int) -> None:
    """Tells of one of several parts that take as long as each other."""
    report(place * total + done, parts * total)


def _domain_record(suite: Suite, domain: DomainTraining, domains: Domains) -> DomainRecord:
    return DomainRecord(
        fingerprint=domain.fingerprint,
        source=suite.spec(domain.name).source.model_dump(mode="json", exclude_none=True),
        timed=domain.timed,
        users=len(domain.user_ids),
        items=len(domain.catalogue),
        training_interactions=len(domain.train.items),
        validation_users=len(domain.validation.targets),
        ties=domains.ties.get(domain.name),
    )


def _leakage_record(training: TrainingData, test: HeldOut) -> LeakageRecord:
    found = audit(training, test)
    if found is None:
        untimed = ", ".join(sorted(name for name, domain in training.domains.items() if not domain.timed))
        return LeakageRecord(unknown=f"no timestamps in {untimed}")
    return LeakageRecord(later=found.later, exposed_users=found.exposed_users, exposed_by_own=found.exposed_by_own)
