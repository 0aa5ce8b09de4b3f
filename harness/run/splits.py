"""Opens a scenario's data: either the training part or the test part.

Two functions at two times: while a method fits, no test event is in memory.
"""

from dataclasses import replace

import numpy as np

from harness.data.domain import Domain, Ints
from harness.errors import HarnessError
from harness.protocol.candidates import CandidateSet, candidates_digest, sample_candidates
from harness.protocol.overlap import people, without_overlap
from harness.protocol.scenario import DomainSpec, Scenario
from harness.protocol.split import DomainTraining, HeldOut, Split, TrainingData, split_for
from harness.run.workspace import Workspace
from harness.storage.code_identity import code_digest
from harness.storage.files import digest


def open_training(workspace: Workspace, scenario: Scenario) -> TrainingData:
    """Load what a method may see of a scenario; the rest is dropped before this returns.

    Raises:
        HarnessError: the split leaves nothing to train on, or no validation event in the target.
    """
    domains, split = _open(workspace, scenario)
    parts = {name: _with_people(split.training(domain), workspace.suite.spec(name)) for name, domain in domains.items()}
    hint = f"Take the scenario {scenario.name} out of the suite, or choose another split."
    for name, part in parts.items():
        if part.train.lengths.max(initial=0) < 2:
            raise HarnessError(f"{split.identity} leaves nothing of domain {name!r} to train on.", hint)
    if not len(parts[scenario.target].validation.targets):
        raise HarnessError(f"{split.identity} leaves no validation event in {scenario.target!r}.", hint)
    return TrainingData(scenario.target, scenario.sources, parts)


def open_test(workspace: Workspace, scenario: Scenario) -> HeldOut:
    """Load the test events of a scenario's target. Called once a run, after the method is fitted.

    Raises:
        HarnessError: there are none.
    """
    domains, split = _open(workspace, scenario)
    test = split.test(domains[scenario.target])
    if not len(test.targets):
        raise HarnessError(
            f"{split.identity} leaves no test event in {scenario.target!r}.",
            f"Take the scenario {scenario.name} out of the suite, or choose another split.",
        )
    return test


def _open(workspace: Workspace, scenario: Scenario) -> tuple[dict[str, Domain], Split]:
    domains = {name: workspace.domain(name) for name in scenario.domains}
    # The instants of a temporal split come from the target as published, before anybody is taken out of it.
    split = split_for(scenario.split, domains[scenario.target])
    if scenario.overlap == "none":
        users = {name: workspace.suite.spec(name).source.users for name in domains}
        domains = without_overlap(domains, users, scenario.overlap_seed)
    return domains, split


def _with_people(part: DomainTraining, spec: DomainSpec) -> DomainTraining:
    """Replace user ids by ids that are equal in two domains only if the person is the same."""
    return replace(part, user_ids=tuple(people(part, spec.source.users)))


def open_candidates(
    workspace: Workspace, scenario: Scenario, target: DomainTraining, test: HeldOut, kind: CandidateSet
) -> Ints:
    """The sampled candidates of a target: drawn once for (domain, split, seed), stored, the same for every method.

    Returns:
        int64 [n_users, size].

    Raises:
        HarnessError: they are not those that the suite pins.
    """
    suite, store = workspace.suite, workspace.store
    key = digest(
        {
            "data": target.identity,
            "size": kind.size,
            "seed": suite.candidate_seed,
            "code": code_digest(sample_candidates),
        }
    )
    if not store.has("candidates", key):
        candidates = sample_candidates(
            test.histories.sequences, test.targets, len(target.catalogue), kind.size, suite.candidate_seed
        )
        with store.write("candidates", key, {"label": f"{kind} of {target.name}"}) as folder:
            np.save(folder / "candidates.npy", candidates, allow_pickle=False)
    loaded: Ints = np.load(store.read("candidates", key).folder / "candidates.npy", allow_pickle=False)
    pinned = dict(scenario.pins).get(str(kind))
    if pinned not in (None, candidates_digest(loaded)):
        raise HarnessError(
            f"{suite.id}, {scenario.name}: {kind} has the digest {candidates_digest(loaded)}, but the suite pins "
            f"{pinned}: the drawing of candidates changed, and results would not be comparable.",
            "Give the suite a new version.",
        )
    return loaded


def check_candidates(workspace: Workspace, scenario: Scenario, target: DomainTraining) -> None:
    """Draw a scenario's sampled candidates before any training, so that errors in them are found early.

    Raises:
        HarnessError: some user has too few items outside the history, or they are not those that the suite pins.
    """
    sampled = [kind for kind in workspace.suite.candidates if kind.kind == "sampled"]
    if sampled:
        test = open_test(workspace, scenario)
        for kind in sampled:
            open_candidates(workspace, scenario, target, test, kind)


def candidate_digests(workspace: Workspace, scenario: Scenario) -> dict[str, str]:
    """SHA-256 (hex) of the sampled candidates of a scenario, drawn anew, by the name of the candidate set."""
    suite, test = workspace.suite, open_test(workspace, scenario)
    n_items = len(workspace.domain(scenario.target).catalogue)
    return {
        str(kind): candidates_digest(
            sample_candidates(test.histories.sequences, test.targets, n_items, kind.size, suite.candidate_seed)
        )
        for kind in suite.candidates
        if kind.kind == "sampled"
    }
