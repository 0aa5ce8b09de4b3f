"""Opens a scenario's data: either the training part or the test part.

Two functions at two times: while a method fits, no test event is in memory.
"""

from dataclasses import replace

from harness.data.domain import Domain
from harness.errors import HarnessError
from harness.evaluation.candidate_sets import PreparesCandidates, make_candidate_set
from harness.protocol.draws import draw_test_users, limit_users
from harness.protocol.overlap import person_ids, without_overlap
from harness.protocol.scenario import DomainSpec, Scenario
from harness.protocol.split import DomainTraining, HeldOut, Split, TrainingData, split_for
from harness.protocol.suite import Suite
from harness.run.workspace import Workspace


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
    target, suite = domains[scenario.target], workspace.suite
    test = split.test(target)
    if suite.test_users is not None:
        test = draw_test_users(test, target.user_ids, suite.test_users, suite.candidate_seed)
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
    if workspace.suite.user_limit is not None:
        limit, seed = workspace.suite.user_limit, workspace.suite.candidate_seed
        domains = {name: limit_users(domain, limit, seed) for name, domain in domains.items()}
    if scenario.overlap == "none":
        users = {name: workspace.suite.spec(name).source.users for name in domains}
        domains = without_overlap(domains, users, scenario.overlap_seed)
    return domains, split


def _with_people(part: DomainTraining, spec: DomainSpec) -> DomainTraining:
    """Replace user ids by ids that are equal in two domains only if the person is the same."""
    return replace(part, user_ids=tuple(person_ids(part, spec.source.users)))


def check_candidates(workspace: Workspace, scenario: Scenario, target: DomainTraining) -> None:
    """Draw a scenario's candidates before any training, so that errors in them are found early.

    Raises:
        HarnessError: some user has too few items outside the history, or they are not those that the suite pins.
    """
    suite, candidate_sets = workspace.suite, _drawn_sets(workspace.suite)
    if candidate_sets:
        test = open_test(workspace, scenario)
        for name, candidate_set in candidate_sets.items():
            sha256 = candidate_set.prepare(test, target, suite.candidate_seed, workspace.store)
            check_pinned(suite, scenario, name, sha256)


def check_pinned(suite: Suite, scenario: Scenario, name: str, sha256: str | None) -> None:
    """Check the digest of drawn candidates against the one that the suite pins, if it does.

    Raises:
        HarnessError: they differ.
    """
    pinned = dict(scenario.pins).get(name)
    if pinned not in (None, sha256):
        raise HarnessError(
            f"{suite.id}, {scenario.name}: {name} has the digest {sha256}, but the suite pins {pinned}: the drawing of "
            "candidates changed, and results would not be comparable.",
            "Give the suite a new version.",
        )


def candidate_digests(workspace: Workspace, scenario: Scenario) -> dict[str, str]:
    """SHA-256 (hex) of the drawn candidates of a scenario, drawn anew, by the name of the candidate set."""
    suite, test = workspace.suite, open_test(workspace, scenario)
    target = open_training(workspace, scenario).target_domain
    return {name: each.digest(test, target, suite.candidate_seed) for name, each in _drawn_sets(suite).items()}


def _drawn_sets(suite: Suite) -> dict[str, PreparesCandidates]:
    sets = {name: make_candidate_set(name) for name in suite.candidates}
    return {name: each for name, each in sets.items() if isinstance(each, PreparesCandidates)}
