"""What a suite's data say of every result of a scenario, rebuilt from the data and not taken from any result."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.domain import Ints
from harness.evaluation.candidate_sets import RankContext, Ranking, make_candidate_set
from harness.protocol.history_mask import seen_pairs
from harness.protocol.scenario import Scenario
from harness.protocol.slices import slices_of
from harness.protocol.split import Histories
from harness.results.record import DomainRecord, LeakageRecord
from harness.results.users import CatalogueItems, TestUsers
from harness.run.scenario_data import open_test, open_training
from harness.run.score import domain_record, leakage_record, tested_users
from harness.run.workspace import Workspace


@dataclass(frozen=True)
class ExpectedScenario:
    """A scenario of a suite, from its data.

    Attributes:
        workspace: the suite and its data.
        scenario: the scenario.
        split: with its instants.
        users: the test users and held-out items.
        items: the target's catalogue.
        history: int64 [n_pairs], row of a user * n_items + an item of the user's history, without held-out items.
        slices: members of each slice, bool [n_users].
        n_candidates: by candidate set that ranks any scorer, int64 [n_users].
        drawn: by drawn candidate set, its digest.
        data: by domain.
        identities: by domain, the identity of its training data, as tunings record it.
        leakage: the audit of its split.
    """

    workspace: Workspace
    scenario: Scenario
    split: str
    users: TestUsers
    items: CatalogueItems
    history: Ints
    slices: Mapping[str, NDArray[np.bool_]]
    n_candidates: Mapping[str, Ints]
    drawn: Mapping[str, str | None]
    data: Mapping[str, DomainRecord]
    identities: Mapping[str, str]
    leakage: LeakageRecord


class _EqualScores:
    """A scorer that gives every item one score: all that depends on no scores can be read from its ranks."""

    def __init__(self, n_items: int) -> None:
        self._n_items = n_items

    def score(self, histories: Histories, candidates: Ints | None) -> Any:
        """See `harness.methods.api.Scorer.score`."""
        return np.zeros((len(histories), self._n_items) if candidates is None else candidates.shape, dtype=np.float32)


def expected_scenario(workspace: Workspace, scenario: Scenario) -> ExpectedScenario:
    """Rebuild a scenario.

    Raises:
        HarnessError: the data cannot be split as the suite says, or are not what it pins.
    """
    suite = workspace.suite
    training, test = open_training(workspace, scenario), open_test(workspace, scenario)
    target = training.target_domain
    n_items = len(target.catalogue)
    context = RankContext(workspace.store, suite.candidate_seed, suite.least_recall)
    scorer = _EqualScores(n_items)
    rankings = {name: make_candidate_set(name).rank(scorer, test, target, context) for name in suite.candidates}
    ranked = {name: ranking for name, ranking in rankings.items() if isinstance(ranking, Ranking)}
    rows, seen = seen_pairs(test.histories.sequences, test.targets, n_items)
    return ExpectedScenario(
        workspace=workspace,
        scenario=scenario,
        split=target.split,
        users=tested_users(suite, training, test),
        items=CatalogueItems(target.catalogue.item_ids, np.bincount(target.train.items, minlength=n_items)),
        history=rows * n_items + seen,
        slices=slices_of(test, target),
        n_candidates={name: ranking.ranks.candidates for name, ranking in ranked.items()},
        drawn={name: ranking.digest for name, ranking in ranked.items() if ranking.digest},
        data={name: domain_record(workspace, domain) for name, domain in training.domains.items()},
        identities={name: domain.identity for name, domain in training.domains.items()},
        leakage=leakage_record(training, test),
    )
