"""Metrics against brute force over permutations of ties, and against ranx."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.domain import Sequences
from harness.protocol.metrics import CUTOFFS, RECORDED, hr, per_user
from harness.protocol.ranks import MISSED, InvalidScoresError, Ranks, rank_among


def brute(name: str, rank: int, k: int) -> float:
    if rank > k:
        return 0.0
    return {"hr": 1.0, "ndcg": 1 / math.log2(rank + 1), "mrr": 1 / rank}[name]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.data())
def test_expectation_over_every_order_of_the_ties(scores: list[int], data: st.DataObject) -> None:
    target = data.draw(st.integers(0, len(scores) - 1))
    ranks = rank_among(np.array([scores], dtype=np.float32), np.array([target]))
    # Every order of the candidates that the scores allow is equally likely.
    orders = [
        order
        for order in itertools.permutations(range(len(scores)))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]
    for name, metric in RECORDED.items():
        for k in (1, 2, 3, 5):
            expected = np.mean([brute(name, order.index(target) + 1, k) for order in orders])
            assert metric(ranks, k)[0] == pytest.approx(expected, abs=1e-12)


@given(st.integers(1, 200), st.sampled_from(CUTOFFS))
def test_a_constant_scorer_gets_k_over_n(n: int, k: int) -> None:
    ranks = rank_among(np.zeros((1, n), dtype=np.float32), np.array([n // 2]))
    assert hr(ranks, k)[0] == pytest.approx(min(1.0, k / n))


def test_ranx_agrees_where_there_are_no_ties() -> None:
    from ranx import Qrels, Run, evaluate

    rng = np.random.default_rng(0)
    n_users, n_items = 50, 40
    scores = rng.permuted(np.tile(np.arange(n_items, dtype=np.float32), (n_users, 1)), axis=1)
    targets = rng.integers(0, n_items, n_users)
    allowed = rng.random((n_users, n_items)) < 0.8
    excluded = Sequences.of(np.flatnonzero(~row) for row in allowed)
    ours = per_user(rank_among(scores, targets, excluded))
    allowed[np.arange(n_users), targets] = True
    qrels = Qrels({f"u{u}": {f"i{targets[u]}": 1} for u in range(n_users)})
    run = Run({f"u{u}": {f"i{i}": float(scores[u, i]) for i in np.flatnonzero(allowed[u])} for u in range(n_users)})
    for name, theirs in (("hr", "hit_rate"), ("ndcg", "ndcg"), ("mrr", "mrr")):
        for k in CUTOFFS:
            expected = evaluate(qrels, run, f"{theirs}@{k}", make_comparable=True)
            assert ours[f"{name}@{k}"].mean() == pytest.approx(expected, abs=1e-12)


def test_a_miss_gains_nothing_at_any_cutoff() -> None:
    ranks = Ranks(np.array([MISSED]), np.array([0]), np.array([5]))
    assert all(values[0] == 0 for values in per_user(ranks).values())


SCORES = st.sampled_from([0.0, 1.0, 2.0, math.inf, -math.inf, math.nan])


@given(st.data(), st.integers(1, 6), st.integers(1, 5))
def test_ranks_against_counting_one_candidate_at_a_time(data: st.DataObject, n_items: int, n_users: int) -> None:
    scores = np.array([[data.draw(SCORES) for _ in range(n_items)] for _ in range(n_users)], dtype=np.float32)
    targets = np.array([data.draw(st.integers(0, n_items - 1)) for _ in range(n_users)])
    # A history may hold an item more than once, and the held-out item too.
    excluded = [data.draw(st.lists(st.integers(0, n_items - 1), max_size=8)) for _ in range(n_users)]
    others = [
        [scores[u, i] for i in range(n_items) if i != targets[u] and i not in excluded[u]] for u in range(n_users)
    ]
    target_scores = [scores[u, targets[u]] for u in range(n_users)]
    if any(math.isnan(s) for s in [*itertools.chain(*others), *target_scores]):
        with pytest.raises(InvalidScoresError):
            rank_among(scores, targets, Sequences.of(excluded))
        return
    ranks = rank_among(scores, targets, Sequences.of(excluded))
    for u in range(n_users):
        missed = target_scores[u] == -math.inf
        assert ranks.above[u] == (MISSED if missed else sum(s > target_scores[u] for s in others[u]))
        assert ranks.tied[u] == (0 if missed else sum(s == target_scores[u] for s in others[u]))
        assert ranks.candidates[u] == len(others[u]) + 1


def test_blocks_of_users_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    scores, targets = rng.integers(0, 5, (50, 20)).astype(np.float32), rng.integers(0, 20, 50)
    whole = rank_among(scores, targets)
    monkeypatch.setattr("harness.protocol.ranks._CACHED_SCORES", 70)
    parts = rank_among(scores, targets)
    np.testing.assert_array_equal(whole.above, parts.above)
    np.testing.assert_array_equal(whole.tied, parts.tied)


def test_nan_is_an_error_unless_it_is_excluded() -> None:
    scores = np.array([[np.nan, 1.0]], dtype=np.float32)
    with pytest.raises(InvalidScoresError):
        rank_among(scores, np.array([1]))
    assert rank_among(scores, np.array([1]), Sequences.of([[0]])).above[0] == 0


@given(st.lists(st.floats(-10, 10, width=32), min_size=2, max_size=20), st.floats(0.5, 2))
def test_an_increasing_transform_of_the_scores_changes_nothing(scores: list[float], factor: float) -> None:
    values = np.unique(np.array([scores], dtype=np.float32))[None, :]
    target = np.array([0])
    assert rank_among(values, target).above == rank_among(values * np.float32(2), target).above


def test_optional_columns_are_joined_and_selected() -> None:
    plain = Ranks(np.array([0, 3]), np.array([0, 2]), np.array([9, 9]))
    tied = Ranks(np.array([4]), np.array([1]), np.array([5]), chance=np.array([0.5]), unscored=np.array([True]))
    both = Ranks.joined([plain, tied])
    assert both.chance.tolist() == [1, 1, 0.5]
    assert both.unscored.tolist() == [False, False, True]
    assert Ranks.joined([plain, plain]).chance is None
    for name, values in per_user(both).items():
        expected = np.concatenate([per_user(plain)[name], per_user(tied)[name]])
        np.testing.assert_array_equal(values, expected)
        np.testing.assert_array_equal(per_user(both.select(np.array([2, 0])))[name], expected[[2, 0]])
    assert plain.select(np.array([1])).chance is None
