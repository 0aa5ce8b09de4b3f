"""Candidate sets by name, and candidates that are drawn once and stored."""

from pathlib import Path

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.evaluation.candidate_sets import (
    DrawnCandidates,
    NotApplicable,
    PreparesCandidates,
    RankContext,
    Ranking,
    candidate_sets_code,
    make_candidate_set,
)
from harness.evaluation.rank_scorer import rank_candidates, rank_full, rank_retrieved
from harness.protocol.negatives import candidates_digest, sample_candidates
from harness.protocol.split import LeaveOneOut
from harness.storage.store import Store
from tests.conftest import domain_of
from tests.harness.evaluation.test_rank_scorer import Table, vectors

RNG = np.random.default_rng(0)
DOMAIN = domain_of([RNG.permutation(30)[: RNG.integers(4, 9)].tolist() for _ in range(20)], 30)
TEST, TARGET = LeaveOneOut().test(DOMAIN), LeaveOneOut().training(DOMAIN)


def rank(name: str, scorer, tmp_path: Path, **options) -> Ranking | NotApplicable:
    return make_candidate_set(name).rank(scorer, TEST, TARGET, RankContext(Store(tmp_path), **options))


def test_each_built_in_candidate_set(tmp_path: Path) -> None:
    scorer = vectors(RNG, 20, 30)
    table = sample_candidates(TEST.histories.sequences, TEST.targets, 30, 10, 7)
    for name, expected in {
        "full": rank_full(scorer, TEST, 30),
        "full-history-kept": rank_full(scorer, TEST, 30, keep_history=True),
        "sampled-10": rank_candidates(scorer, TEST, table, 30),
        "retrieved-12": rank_retrieved(scorer, TEST, 12)[0],
    }.items():
        ranking = rank(name, scorer, tmp_path, seed=7)
        assert make_candidate_set(name).name == name
        np.testing.assert_array_equal(ranking.ranks.above, expected.above)
        assert ranking.digest == (candidates_digest(table) if name == "sampled-10" else None)
        assert (ranking.index is not None) == (name == "retrieved-12")
        assert ranking.recommendations is None
    assert rank("full", scorer, tmp_path, list_length=20).recommendations.shape == (20, 20)
    assert rank("retrieved-12", Table(np.ones((20, 30))), tmp_path) == NotApplicable("no item vectors to retrieve with")


def test_candidates_are_drawn_once(tmp_path: Path) -> None:
    store, sampled = Store(tmp_path), make_candidate_set("sampled-10")
    assert isinstance(sampled, PreparesCandidates)
    assert not isinstance(make_candidate_set("full"), PreparesCandidates)
    prepared = sampled.prepare(TEST, TARGET, 7, store)
    assert prepared == sampled.digest(TEST, TARGET, 7)
    assert prepared == rank("sampled-10", vectors(RNG, 20, 30), tmp_path, seed=7).digest
    assert len(list((tmp_path / "candidates").iterdir())) == 1
    assert sampled.prepare(TEST, TARGET, 8, store) != prepared
    assert len(list((tmp_path / "candidates").iterdir())) == 2


def test_draws_without_the_held_out_item_are_refused() -> None:
    wrong = DrawnCandidates("wrong-5", lambda test, target, seed: (test.targets[:, None] + np.arange(1, 6)) % 30)
    with pytest.raises(HarnessError, match="wrong-5: the held-out item is not among the candidates once for 20 of 20"):
        wrong.digest(TEST, TARGET, 0)


def test_the_code_of_candidate_sets_depends_on_their_names() -> None:
    assert candidate_sets_code(["full", "sampled-10"]) == candidate_sets_code(["sampled-10", "full"])
    assert candidate_sets_code(["full"]) != candidate_sets_code(["full", "sampled-10"])
