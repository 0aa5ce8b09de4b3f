"""One run, start to end: fit, then open the test split, score, and keep the result."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from harness import __version__
from harness.evaluate import rank_candidates, rank_full, rank_retrieved
from harness.files import file_digest
from harness.method import FitContext, Report, Scorer, VectorScorer, make_method, packages_of, settings_of
from harness.protocol.candidates import candidates_digest
from harness.protocol.ranking import Ranks
from harness.protocol.scenario import Suite
from harness.protocol.slices import slices_of
from harness.protocol.split import TrainingData
from harness.results.record import (
    CandidatesRecord,
    Code,
    Cost,
    DomainRecord,
    Provenance,
    RankTable,
    RunResult,
    ScenarioRecord,
)
from harness.run.artefacts import RunArtefacts
from harness.run.memory import PeakMemory
from harness.run.opening import open_candidates, open_test, open_training
from harness.run.plan import Run
from harness.run.provenance import HARNESS_CODE, git_state, hardware, package_versions, source_digest
from harness.run.store import Store


def score(
    suite: Suite,
    run: Run,
    fingerprints: Mapping[str, str],
    domains: Path,
    store: Store,
    device: str,
    report: Report,
) -> None:
    """Makes one run and stores its result and ranks.

    Raises:
        HarnessError: bad data, a corrupt artefact.
        InvalidScoresError: the method's scores hold NaN or have the wrong shape.
    """
    artefacts = RunArtefacts(store, device, report)
    with PeakMemory() as peak:
        started = time.perf_counter()
        training = open_training(suite, run.scenario, fingerprints, domains)
        context = FitContext(suite.budget, run.seed, device, artefacts)
        method = make_method(run.method)
        scorer = method.fit(training, context)
        fitted = time.perf_counter()
        table, records = _rank(suite, run, training, scorer, fingerprints, domains, store)
        scored = time.perf_counter()
    ranks = table.to_parquet()
    with store.write("run", run.key, {}) as folder:
        (folder / "ranks.parquet").write_bytes(ranks)
        commit, clean = git_state()
        result = RunResult(
            key=run.key,
            suite=suite.name,
            suite_version=suite.version,
            scenario=ScenarioRecord(
                name=run.scenario.name,
                target=run.scenario.target,
                sources=run.scenario.sources,
                split=suite.split,
                k_core={spec.name: spec.k_core for spec in suite.domains if spec.name in run.scenario.domains},
            ),
            method=run.method,
            settings=settings_of(method),
            seed=run.seed,
            budget=asdict(suite.budget),
            data={name: _domain_record(training, name) for name in run.scenario.domains},
            candidates=records,
            slices={name: int(members.sum()) for name, members in table.slices.items()},
            training=tuple(artefacts.records),
            ranks_sha256=file_digest(folder / "ranks.parquet"),
            code=Code(version=__version__, source=source_digest(*HARNESS_CODE, *packages_of(run.method))),
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
                artefacts=tuple(artefacts.costs),
            ),
        )
        (folder / "result.json").write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _rank(
    suite: Suite,
    run: Run,
    training: TrainingData,
    scorer: Scorer,
    fingerprints: Mapping[str, str],
    domains: Path,
    store: Store,
) -> tuple[RankTable, dict[str, CandidatesRecord]]:
    target = training.target_domain
    n_items = len(target.catalogue)
    test = open_test(suite, run.scenario, fingerprints, domains)
    ranks: dict[str, Ranks] = {}
    digests: dict[str, str] = {}
    absent: dict[str, str] = {}
    for kind in suite.candidates:
        name = str(kind)
        if kind.kind == "sampled":
            drawn = open_candidates(suite, target.fingerprint, test, n_items, kind, store)
            digests[name] = candidates_digest(drawn)
            ranks[name] = rank_candidates(scorer, test, drawn)
        elif kind.kind == "full":
            ranks[name] = rank_full(scorer, test, n_items)
        elif isinstance(scorer, VectorScorer):
            ranks[name] = rank_retrieved(scorer, test, kind.size)
        else:
            absent[name] = "no item vectors to retrieve with"
    table = RankTable(ranks, slices_of(test, target))
    records = {
        name: CandidatesRecord(
            digest=digests.get(name),
            metrics=table.metrics(name) if name in ranks else None,
            absent=absent.get(name),
        )
        for name in map(str, suite.candidates)
    }
    return table, records


def _domain_record(training: TrainingData, name: str) -> DomainRecord:
    domain = training.domains[name]
    return DomainRecord(
        fingerprint=domain.fingerprint,
        users=len(domain.user_ids),
        items=len(domain.catalogue),
        # Training rows, and one validation and one test event of each user who has them.
        interactions=len(domain.train.items) + 2 * len(domain.validation.targets),
    )
