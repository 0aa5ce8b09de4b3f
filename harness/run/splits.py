"""Opening a suite's data: prepared domains, and of them either the training part or the test part.

The two parts are opened by two functions at two times. While a method fits, no test event is in memory.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.data.domain import Domain
from harness.data.domain_store import DomainStore, Prepared
from harness.data.records import ReadProgress, no_read_progress
from harness.data.ties import TieAudit
from harness.errors import HarnessError
from harness.evaluation.candidate_sets import PreparesCandidates, make_candidate_set
from harness.protocol.overlap import person_ids, without_overlap
from harness.protocol.scenario import DomainSpec, Scenario, Suite
from harness.protocol.split import DomainTraining, HeldOut, Split, TrainingData, split_for
from harness.storage.locks import Tell, tell_stderr
from harness.storage.store import Store


@dataclass(frozen=True)
class Domains:
    """A suite's prepared domains: where they are, and which.

    Attributes:
        store: the folder of prepared domains.
        fingerprints: by domain name, of what was prepared.
        ties: by domain name, the audit of the order of its ties.
    """

    store: Path
    fingerprints: Mapping[str, str]
    ties: Mapping[str, TieAudit] = field(default_factory=dict)

    def load(self, name: str) -> Domain:
        """A domain, verified.

        Raises:
            HarnessError: it is not there or corrupt.
        """
        return DomainStore(self.store).load(self.fingerprints[name], name)


def prepare_domain(
    spec: DomainSpec, store: DomainStore, folder: Path, report: ReadProgress = no_read_progress
) -> Prepared:
    """Reads, prepares and stores a domain, unless that was done.

    Raises:
        HarnessError: a file is missing or broken, or the content is not what the suite was made with.
    """
    prepared = store.prepare(spec.source, spec.name, spec.k_core, spec.folder or folder, report, spec.ties)
    if spec.fingerprint not in (None, prepared.made.fingerprint):
        raise HarnessError(
            f"Domain {spec.name!r} has the fingerprint {prepared.made.fingerprint}, not {spec.fingerprint} as its "
            "suite says.",
            "The source's files or their preparation changed: results would not be comparable. "
            "Get the right files, or give the suite a new version.",
        )
    return prepared


def prepare_domains(
    specs: tuple[DomainSpec, ...],
    root: Path,
    folder: Path,
    report: Callable[[DomainSpec], ReadProgress] | None = None,
    told: Callable[[DomainSpec, Prepared], None] | None = None,
    tell: Tell = tell_stderr,
) -> Domains:
    """Prepares all domains of a suite.

    Args:
        specs: the domains.
        root: the folder of prepared domains.
        folder: the data folder.
        report: gives, for a domain, what is told how far it is.
        told: called with each domain when it is there.
        tell: told if another process is preparing the same.

    Raises:
        HarnessError: see `prepare_domain`.
    """
    store = DomainStore(root, tell)
    fingerprints, ties = {}, {}
    for spec in specs:
        prepared = prepare_domain(spec, store, folder, report(spec) if report else no_read_progress)
        if told:
            told(spec, prepared)
        fingerprints[spec.name], ties[spec.name] = prepared.made.fingerprint, prepared.made.ties
    return Domains(root, fingerprints, ties)


def open_training(suite: Suite, scenario: Scenario, domains: Domains) -> TrainingData:
    """What a method may see of a scenario; the rest is dropped before this returns.

    Raises:
        HarnessError: the split leaves nothing to train on, or the target nothing to select by.
    """
    whole, split = _open(suite, scenario, domains)
    parts = {name: _with_people(split.training(domain), suite.spec(name)) for name, domain in whole.items()}
    hint = f"Take the scenario {scenario.name} out of the suite, or choose another split."
    for name, part in parts.items():
        if part.train.lengths.max(initial=0) < 2:
            raise HarnessError(f"{split.identity} leaves nothing of domain {name!r} to train on.", hint)
    if not len(parts[scenario.target].validation.targets):
        raise HarnessError(f"{split.identity} leaves no validation event in {scenario.target!r}.", hint)
    return TrainingData(scenario.target, scenario.sources, parts)


def open_test(suite: Suite, scenario: Scenario, domains: Domains) -> HeldOut:
    """The test events of a scenario's target. Opened once a run, after the method is fitted.

    Raises:
        HarnessError: there are none.
    """
    whole, split = _open(suite, scenario, domains)
    test = split.test(whole[scenario.target])
    if not len(test.targets):
        raise HarnessError(
            f"{split.identity} leaves no test event in {scenario.target!r}.",
            f"Take the scenario {scenario.name} out of the suite, or choose another split.",
        )
    return test


def _open(suite: Suite, scenario: Scenario, domains: Domains) -> tuple[dict[str, Domain], Split]:
    """The scenario's domains as it has them, and its split."""
    whole = {name: domains.load(name) for name in scenario.domains}
    # The instants are a property of the target as it is published, whoever is taken out of it afterwards.
    split = split_for(scenario.split, whole[scenario.target])
    if scenario.overlap == "none":
        users = {name: suite.spec(name).source.users for name in whole}
        whole = without_overlap(whole, users, scenario.overlap_seed)
    return whole, split


def _with_people(part: DomainTraining, spec: DomainSpec) -> DomainTraining:
    """User ids that are equal in two domains only if the person is."""
    return replace(part, user_ids=tuple(person_ids(part, spec.source.users)))


def check_candidates(suite: Suite, scenario: Scenario, target: DomainTraining, domains: Domains, cache: Store) -> None:
    """Draws a scenario's candidates, if that was not done, so that problems show before anything is trained.

    Raises:
        HarnessError: some user has too few items outside the history, or they are not those that the suite pins.
    """
    drawn = _drawn_sets(suite)
    if drawn:
        test = open_test(suite, scenario, domains)
        for name, candidate_set in drawn.items():
            check_pinned(suite, scenario, name, candidate_set.prepare(test, target, suite.candidate_seed, cache))


def check_pinned(suite: Suite, scenario: Scenario, name: str, digest: str | None) -> None:
    """Checks the digest of drawn candidates against the one that the suite pins, if it does.

    Raises:
        HarnessError: they differ.
    """
    pinned = dict(scenario.pins).get(name)
    if pinned not in (None, digest):
        raise HarnessError(
            f"{suite.id}, {scenario.name}: {name} came out as {digest}, not {pinned} as the suite says.",
            "The drawing of candidates changed: results would not be comparable. Give the suite a new version.",
        )


def candidate_digests(suite: Suite, scenario: Scenario, domains: Domains) -> dict[str, str]:
    """SHA-256 (hex) of the drawn candidates of a scenario, drawn anew, by the name of the candidate set."""
    test = open_test(suite, scenario, domains)
    target = open_training(suite, scenario, domains).target_domain
    drawn = _drawn_sets(suite)
    return {name: candidate_set.digest(test, target, suite.candidate_seed) for name, candidate_set in drawn.items()}


def _drawn_sets(suite: Suite) -> dict[str, PreparesCandidates]:
    sets = {name: make_candidate_set(name) for name in suite.candidates}
    return {name: each for name, each in sets.items() if isinstance(each, PreparesCandidates)}
