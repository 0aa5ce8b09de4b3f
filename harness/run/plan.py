"""What a command will do: which runs are there already, which must be made, and what must be trained for them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from harness.errors import NotInstalled
from harness.files import digest, source_digest
from harness.method import Estimate, Method, TrainsArtefacts, content_of, packages_of, settings_of
from harness.protocol.scenario import Scenario, Suite
from harness.results.record import result_path
from harness.run.artefacts import artefact_key
from harness.run.methods import method_for
from harness.run.opening import Domains, open_training
from harness.run.provenance import HARNESS_CODE, package_versions
from harness.run.store import Store
from harness.tuning.record import Tuning


@dataclass(frozen=True)
class Run:
    """One method on one scenario with one seed; `key` names its result in the store."""

    scenario: Scenario
    method: str
    seed: int
    key: str


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
        runs: every run that was asked for.
        missing: those whose result is not in the store.
        trainings: artefacts that the missing runs need and the store lacks, each once.
        reused: artefacts that the missing runs need and the store has.
        estimates: by a training's key, what says how much it will take; of those that can tell.
        left_out: methods that were asked for and whose packages are not all installed, and what they lack.
    """

    runs: tuple[Run, ...]
    missing: tuple[Run, ...]
    trainings: tuple[Training, ...]
    reused: tuple[Training, ...]
    estimates: Mapping[str, Callable[[], Estimate]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


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
        HarnessError: an unknown method.
        NotInstalled: none of the methods has all the packages it needs.
    """
    made: dict[tuple[Scenario, str], tuple[Method, Tuning | None]] = {}
    left_out: dict[str, str] = {}
    for name in methods:
        try:
            made |= {(scenario, name): method_for(suite, scenario, name) for scenario in scenarios}
        except NotInstalled as error:
            left_out[name] = str(error)
            if len(left_out) == len(methods):
                raise
    runs = tuple(
        Run(scenario, name, seed, _run_key(suite, scenario, name, *made[scenario, name], seed, domains))
        for scenario in scenarios
        for name in methods
        if name not in left_out
        for seed in seeds
        if result_path(suite.name, suite.version, scenario.name, name, seed) not in there
    )
    missing = tuple(run for run in runs if not store.has("run", run.key))
    opened = {
        scenario: open_training(suite, scenario, domains) for scenario in dict.fromkeys(run.scenario for run in missing)
    }
    needed: dict[str, Training] = {}
    estimates: dict[str, Callable[[], Estimate]] = {}
    for run in missing:
        method, _ = made[run.scenario, run.method]
        if isinstance(method, TrainsArtefacts):
            for artefact in method.artefacts(opened[run.scenario], suite.budget, run.seed):
                key = artefact_key(artefact)
                needed.setdefault(key, Training(key, artefact.kind, artefact.label, run, artefact.shared))
                if artefact.estimate:
                    estimates.setdefault(key, artefact.estimate)
    trainings = tuple(t for t in needed.values() if not store.has(t.kind, t.key))
    reused = tuple(t for t in needed.values() if t not in trainings)
    return Plan(runs, missing, trainings, reused, estimates, left_out)


def _run_key(
    suite: Suite, scenario: Scenario, name: str, method: Method, tuning: Tuning | None, seed: int, domains: Domains
) -> str:
    return digest(
        {
            "suite": suite.digest,
            "scenario": asdict(scenario),
            "data": {domain: domains.fingerprints[domain] for domain in scenario.domains},
            "method": name,
            "settings": settings_of(method),
            "content": content_of(method),
            "tuning": None if tuning is None else tuning.model_dump(mode="json"),
            "seed": seed,
            "source": source_digest(*HARNESS_CODE, *packages_of(name)),
            "packages": package_versions(),
        }
    )
