"""Metrics against brute force over permutations of ties, and against ranx."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.protocol.metrics import CUTOFFS, METRICS, hr, per_user
from harness.protocol.ranking import MISSED, InvalidScoresError, Ranks, rank_among


def brute(name: str, rank: int, k: int) -> float:
    if rank > k:
        return 0.0
    return {"hr": 1.0, "ndcg": 1 / math.log2(rank + 1), "mrr": 1 / rank}[name]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.data())
def test_expectation_over_every_order_of_the_ties(scores: list[int], data: st.DataObject) -> None:
    target = data.draw(st.integers(0, len(scores) - 1))
    ranks = rank_among(np.array([scores], dtype=np.float32), np.array([target]), np.ones((1, len(scores)), dtype=bool))
    # Every order of the candidates that the scores allow is equally likely.
    orders = [
        order
        for order in itertools.permutations(range(len(scores)))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]
    for name, metric in METRICS.items():
        for k in (1, 2, 3, 5):
            wanted = np.mean([brute(name, order.index(target) + 1, k) for order in orders])
            assert metric(ranks, k)[0] == pytest.approx(wanted, abs=1e-12)


@given(st.integers(1, 200), st.sampled_from(CUTOFFS))
def test_a_constant_scorer_gets_k_over_n(n: int, k: int) -> None:
    ranks = rank_among(np.zeros((1, n), dtype=np.float32), np.array([n // 2]), np.ones((1, n), dtype=bool))
    assert hr(ranks, k)[0] == pytest.approx(min(1.0, k / n))


def test_ranx_agrees_where_there_are_no_ties() -> None:
    from ranx import Qrels, Run, evaluate

    rng = np.random.default_rng(0)
    n_users, n_items = 50, 40
    scores = rng.permuted(np.tile(np.arange(n_items, dtype=np.float32), (n_users, 1)), axis=1)
    targets = rng.integers(0, n_items, n_users)
    allowed = rng.random((n_users, n_items)) < 0.8
    ours = per_user(rank_among(scores, targets, allowed))
    allowed[np.arange(n_users), targets] = True
    qrels = Qrels({f"u{u}": {f"i{targets[u]}": 1} for u in range(n_users)})
    run = Run({f"u{u}": {f"i{i}": float(scores[u, i]) for i in np.flatnonzero(allowed[u])} for u in range(n_users)})
    for name, theirs in (("hr", "hit_rate"), ("ndcg", "ndcg"), ("mrr", "mrr")):
        for k in CUTOFFS:
            wanted = evaluate(qrels, run, f"{theirs}@{k}", make_comparable=True)
            assert ours[f"{name}@{k}"].mean() == pytest.approx(wanted, abs=1e-12)


def test_a_miss_gains_nothing_at_any_cutoff() -> None:
    ranks = Ranks(np.array([MISSED]), np.array([0]), np.array([5]))
    assert all(values[0] == 0 for values in per_user(ranks).values())


def test_only_allowed_items_count_and_the_held_out_item_always_does() -> None:
    scores = np.array([[3, 2, 1, 2]], dtype=np.float32)
    ranks = rank_among(scores, np.array([1]), np.array([[False, False, True, True]]))
    assert (ranks.above[0], ranks.tied[0], ranks.candidates[0]) == (0, 1, 3)


def test_nan_is_an_error_unless_it_is_no_candidate_s() -> None:
    scores = np.array([[np.nan, 1.0]], dtype=np.float32)
    with pytest.raises(InvalidScoresError):
        rank_among(scores, np.array([1]), np.ones((1, 2), dtype=bool))
    assert rank_among(scores, np.array([1]), np.array([[False, True]])).above[0] == 0


@given(st.lists(st.floats(-10, 10, width=32), min_size=2, max_size=20), st.floats(0.5, 2))
def test_a_rising_transform_of_the_scores_changes_nothing(scores: list[float], factor: float) -> None:
    values = np.unique(np.array([scores], dtype=np.float32))[None, :]
    target, allowed = np.array([0]), np.ones(values.shape, dtype=bool)
    assert rank_among(values, target, allowed).above == rank_among(values * np.float32(2), target, allowed).above
