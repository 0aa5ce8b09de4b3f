from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.evaluation.ann_index import ItemIndex
from harness.evaluation.rank_scorer import (
    rank_and_recommend,
    rank_candidates,
    rank_full,
    rank_retrieved,
    validation_ndcg,
)
from harness.methods.api import DotProduct, gather_candidates
from harness.protocol.metrics import per_user
from harness.protocol.ranks import MISSED, InvalidScoresError, rank_among
from harness.protocol.split import HeldOut, Histories, LeaveOneOut
from tests.conftest import domain_of


class Table:
    """A scorer with a table of scores."""

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = scores.astype(np.float32)

    def score(self, histories, candidates):
        return gather_candidates(self.scores[histories.users], candidates)


def random_held_out(rng: np.random.Generator, n_users: int = 20, n_items: int = 30) -> HeldOut:
    sequences = [list(rng.permutation(n_items)[: rng.integers(3, 9)]) for _ in range(n_users)]
    return LeaveOneOut().test(domain_of(sequences, n_items))


def brute_rank(scores: np.ndarray, target: int, items: set[int]) -> tuple[int, int]:
    others = [i for i in items if i != target]
    return sum(scores[i] > scores[target] for i in others), sum(scores[i] == scores[target] for i in others)


@given(st.integers(0, 10**6))
def test_full_ranks_the_catalogue_less_the_history(seed: int) -> None:
    rng = np.random.default_rng(seed)
    held_out = random_held_out(rng)
    scores = rng.integers(0, 6, (20, 30)).astype(np.float32)
    ranks = rank_full(Table(scores), held_out, 30)
    for u in range(20):
        items = set(range(30)) - set(held_out.histories.sequences[u].tolist()) | {int(held_out.targets[u])}
        assert (ranks.above[u], ranks.tied[u]) == brute_rank(scores[u], held_out.targets[u], items)
        assert ranks.candidates[u] == len(items)


def test_a_held_out_item_in_the_history_stays() -> None:
    held_out = LeaveOneOut().test(domain_of([[0, 1, 2, 0]], 5))
    ranks = rank_full(Table(np.array([[5, 9, 9, 1, 1]])), held_out, 5)
    assert (ranks.above[0], ranks.candidates[0]) == (0, 3)


def test_lists_come_with_the_same_ranks() -> None:
    rng = np.random.default_rng(3)
    held_out, scorer = random_held_out(rng), vectors(rng, 20, 30)
    ranks, lists = rank_and_recommend(scorer, held_out, 30, 10)
    np.testing.assert_array_equal(ranks.above, rank_full(scorer, held_out, 30).above)
    for user, (items, target) in enumerate(zip(lists.tolist(), held_out.targets.tolist(), strict=True)):
        assert not set(items) & (set(held_out.histories.sequences[user].tolist()) - {target})
        assert (items.index(target) if target in items else 10) == min(ranks.above[user], 10)


def vectors(rng: np.random.Generator, n_users: int, n_items: int) -> DotProduct:
    items = rng.normal(size=(n_items, 8)).astype(np.float32)
    users = rng.normal(size=(n_users, 8)).astype(np.float32)
    return DotProduct(items, lambda histories: users[histories.users])


@given(st.integers(0, 10**6), st.integers(1, 40))
def test_retrieved_against_the_top_of_full(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    held_out = random_held_out(rng)
    scorer = vectors(rng, 20, 30)
    full, retrieved = rank_full(scorer, held_out, 30), rank_retrieved(scorer, held_out, size)[0]
    in_top = full.above < size
    assert (retrieved.above[in_top] == full.above[in_top]).all()
    assert (retrieved.above[~in_top] == MISSED).all()
    assert (retrieved.candidates == np.minimum(size, full.candidates)).all()


def test_retrieved_metrics_equal_full_up_to_the_size_retrieved() -> None:
    rng = np.random.default_rng(0)
    held_out, scorer = random_held_out(rng), vectors(rng, 20, 30)
    full, retrieved = per_user(rank_full(scorer, held_out, 30)), per_user(rank_retrieved(scorer, held_out, 20)[0])
    for name in full:
        np.testing.assert_array_equal(full[name], retrieved[name])


def test_blocks_of_users_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    held_out, scorer = random_held_out(rng), vectors(rng, 20, 30)
    whole = rank_full(scorer, held_out, 30)
    monkeypatch.setattr("harness.evaluation.rank_scorer._BLOCK_SCORES", 70)
    np.testing.assert_array_equal(rank_full(scorer, held_out, 30).above, whole.above)
    np.testing.assert_array_equal(
        rank_retrieved(scorer, held_out, 21)[0].above,
        whole.above.clip(max=20) * 0 + np.where(whole.above < 21, whole.above, MISSED),
    )


def test_items_that_the_index_does_not_find_are_not_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    held_out = LeaveOneOut().test(domain_of([[1, 2, 3, 9], [1, 2, 3, 9], [1, 2, 3, 9]], 10))
    scores = np.full((3, 10), -np.inf, dtype=np.float32)
    scores[0, [2, 9]], scores[1, [2, 5]] = 1, 1
    monkeypatch.setattr(ItemIndex, "scores", lambda self, queries, n: scores)
    ranks, _ = rank_retrieved(vectors(np.random.default_rng(0), 3, 10), held_out, 6)
    # First user: 2 is history and 9 is held out. Second: the index did not find 9. Third: it found nothing.
    assert ranks.candidates.tolist() == [1, 1, 0]
    assert ranks.above.tolist() == [0, MISSED, MISSED]


def test_scores_of_the_wrong_shape_or_nan_are_errors() -> None:
    held_out = LeaveOneOut().test(domain_of([[0, 1, 2]], 5))
    with pytest.raises(InvalidScoresError, match=r"shape \[1, 4\], not \[1, 5\]"):
        rank_full(Table(np.zeros((1, 4))), held_out, 5)
    with pytest.raises(InvalidScoresError, match="NaN"):
        rank_candidates(Table(np.full((1, 5), np.nan)), held_out, np.array([[1, 2]]), 5)


def test_validation_ndcg_of_a_perfect_scorer() -> None:
    training = LeaveOneOut().training(domain_of([[0, 1, 2, 3], [3, 2, 1, 0]], 4))
    perfect = np.zeros((2, 4))
    perfect[[0, 1], training.validation.targets] = 1
    assert validation_ndcg(Table(perfect), training) == 1


def test_histories_hold_no_target() -> None:
    held_out = random_held_out(np.random.default_rng(5))
    whole = domain_of([[1, 2, 3]], 5)
    assert isinstance(held_out.histories, Histories)
    assert list(LeaveOneOut().test(whole).histories.sequences[0]) == [1, 2]


def test_a_kept_history_is_among_the_candidates() -> None:
    held_out = LeaveOneOut().test(domain_of([[0, 1, 2, 3]], 6))
    scorer = Table(np.array([[9.0, 8.0, 7.0, 6.0, 5.0, 4.0]]))
    assert rank_full(scorer, held_out, 6).above.tolist() == [0]
    kept = rank_full(scorer, held_out, 6, keep_history=True)
    assert (kept.above.tolist(), kept.candidates.tolist()) == ([3], [6])


class TwoStages:
    """Retrieves by numbers written down for each user, and scores by others; items whose first are equal have equal
    second ones.
    """

    def __init__(self, first: np.ndarray, second: np.ndarray) -> None:
        self.first, self.second = first.astype(np.float32), second.astype(np.float32)

    def item_vectors(self):
        return np.eye(self.first.shape[1], dtype=np.float32)

    def history_vectors(self, histories):
        return self.first[histories.users]

    def score(self, histories, candidates):
        return gather_candidates(self.second[self.first[histories.users].astype(int)], candidates)


def by_enumeration(first: np.ndarray, second: np.ndarray, target: int, items: list[int], size: int) -> dict[str, float]:
    """Every metric as the mean over all orders in which ties could be broken, in the index and after it."""
    total: dict[str, list[float]] = {}
    for order in permutations(items):
        retrieved = sorted(order, key=lambda item: -first[item])[:size]
        if target in retrieved:
            columns = np.array([retrieved.index(target)])
            values = per_user(rank_among(np.array([[second[item] for item in retrieved]]), columns))
        for name in per_user(rank_among(np.zeros((1, 1)), np.array([0]))):
            total.setdefault(name, []).append(float(values[name][0]) if target in retrieved else 0.0)
    return {name: float(np.mean(values)) for name, values in total.items()}


def tied_held_out(rng: np.random.Generator, n_users: int, n_items: int) -> HeldOut:
    """Short histories, some with repeats, some of which hold the held-out item too."""
    sequences = [rng.integers(0, n_items, rng.integers(3, 6)).tolist() for _ in range(n_users)]
    return LeaveOneOut().test(domain_of(sequences, n_items))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.booleans())
def test_ties_at_the_border_are_expectations_over_all_orders(seed: int, size: int, two_stages: bool) -> None:
    rng = np.random.default_rng(seed)
    held_out = tied_held_out(rng, 3, 6)
    first = rng.integers(0, 3, (3, 6)).astype(np.float32)
    of_value = rng.integers(0, 3, 3) if two_stages else np.arange(3)
    scorer = TwoStages(first, of_value) if two_stages else DotProduct(np.eye(6), lambda h: first[h.users])
    metrics = per_user(rank_retrieved(scorer, held_out, size)[0])
    for user in range(3):
        history, target = held_out.histories.sequences[user].tolist(), int(held_out.targets[user])
        items = sorted(set(range(6)) - set(history) | {target})
        expected = by_enumeration(first[user], of_value[first[user].astype(int)], target, items, size)
        assert {name: values[user] for name, values in metrics.items()} == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40))
def test_retrieval_does_not_depend_on_item_indices(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    sequences = [rng.integers(0, 30, rng.integers(3, 9)).tolist() for _ in range(10)]
    items, users = rng.integers(-1, 2, (30, 2)).astype(np.float32), rng.integers(-1, 2, (10, 2)).astype(np.float32)
    renamed = rng.permutation(30)
    plain = LeaveOneOut().test(domain_of(sequences, 30))
    other = LeaveOneOut().test(domain_of([renamed[s].tolist() for s in sequences], 30))
    moved = np.empty_like(items)
    moved[renamed] = items
    one, _ = rank_retrieved(DotProduct(items, lambda h: users[h.users]), plain, size)
    two, _ = rank_retrieved(DotProduct(moved, lambda h: users[h.users]), other, size)
    for name, values in per_user(one).items():
        np.testing.assert_allclose(values, per_user(two)[name], atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 25), st.lists(st.integers(0, 19), min_size=3, max_size=60))
def test_ranks_do_not_depend_on_other_users(seed: int, size: int, newcomer: list[int]) -> None:
    """Not even on one with the whole catalogue, or with a history longer than it."""
    rng = np.random.default_rng(seed)
    sequences = [rng.integers(0, 20, rng.integers(3, 9)).tolist() for _ in range(6)]
    items, users = rng.integers(-1, 2, (20, 3)).astype(np.float32), rng.integers(-1, 2, (7, 3)).astype(np.float32)
    scorer = DotProduct(items, lambda h: users[h.users])
    alone = rank_retrieved(scorer, LeaveOneOut().test(domain_of(sequences, 20)), size)[0]
    among = rank_retrieved(scorer, LeaveOneOut().test(domain_of([*sequences, newcomer], 20)), size)[0]
    for name in ("above", "tied", "candidates"):
        assert getattr(alone, name).tolist() == getattr(among, name)[:6].tolist()
    for name, values in per_user(alone).items():
        np.testing.assert_array_equal(values, per_user(among)[name][:6])


def test_a_long_history_of_two_items_leaves_every_user_thirty_candidates() -> None:
    rng = np.random.default_rng(0)
    sequences = [rng.permutation(40)[:6].tolist() for _ in range(20)]
    ranks, _ = rank_retrieved(vectors(rng, 21, 40), LeaveOneOut().test(domain_of([*sequences, [0, 1] * 20], 40)), 30)
    assert ranks.candidates.tolist() == [30] * 21


def test_only_users_with_most_of_the_catalogue_have_fewer_candidates() -> None:
    sequences = [[0, 1, 2], list(range(10)), [*range(10), *range(10)], [9, 0, 9]]
    ranks, _ = rank_retrieved(vectors(np.random.default_rng(0), 4, 10), LeaveOneOut().test(domain_of(sequences, 10)), 7)
    assert ranks.candidates.tolist() == [7, 1, 1, 7]
    assert ranks.above[1:3].tolist() == [0, 0]


@pytest.mark.parametrize("target", [0, 20, 49])
@pytest.mark.parametrize("size", [2, 20, 50])
def test_the_held_out_item_is_retrieved_as_often_as_any_that_ties(target: int, size: int) -> None:
    history = [5, 7, 5]
    held_out = LeaveOneOut().test(domain_of([[*history, target]], 50))
    scorer = DotProduct(np.ones((50, 4), dtype=np.float32), lambda h: np.ones((len(h), 4), dtype=np.float32))
    full, retrieved = per_user(rank_full(scorer, held_out, 50)), per_user(rank_retrieved(scorer, held_out, size)[0])
    for name in full:
        if int(name.partition("@")[2]) <= size:
            assert retrieved[name] == pytest.approx(full[name])
    assert retrieved["hr@1"] == pytest.approx(1 / 48)


@pytest.mark.parametrize(
    "scores",
    [
        np.array([[2**53, 2**53 + 1, 2**53 + 2, 0]]),
        np.array([[2**24, 2**24 + 1, 2**24 + 2, 0]], dtype=np.int32),
        np.array([[2**63, 2**63 + 1, 2**63 + 2, 0]], dtype=np.uint64),
        np.array([[-3, -2, -1, -128]], dtype=np.int8),
    ],
)
def test_whole_numbers_are_not_rounded(scores: np.ndarray) -> None:
    class Counts:
        def score(self, histories, candidates):
            return gather_candidates(scores, candidates)

    held_out = LeaveOneOut().test(domain_of([[3, 3, 1]], 4))
    for ranks in (
        rank_full(Counts(), held_out, 4),
        rank_candidates(Counts(), held_out, np.array([[0, 1, 2]]), 4),
    ):
        assert (ranks.above.tolist(), ranks.tied.tolist(), ranks.candidates.tolist()) == ([1], [0], [3])


@pytest.mark.parametrize("scores", [np.array([["a"] * 4]), np.zeros((1, 4), dtype=complex), np.array([[None] * 4])])
def test_scores_that_are_not_real_numbers_are_refused(scores: np.ndarray) -> None:
    class Odd:
        def score(self, histories, candidates):
            return scores

    with pytest.raises(InvalidScoresError, match="not real numbers"):
        rank_full(Odd(), LeaveOneOut().test(domain_of([[3, 3, 1]], 4)), 4)


def test_users_without_any_finite_score_are_counted() -> None:
    low = -np.inf
    scores = np.array([[low, low, low, low], [low, low, low, 1], [low, low, 1, low], [0, 0, 0, 0]])
    held_out = LeaveOneOut().test(domain_of([[3, 3, 1]] * 4, 4))
    ranks = rank_full(Table(scores), held_out, 4)
    # The second has a score for an item of the history alone.
    assert ranks.unscored.tolist() == [True, True, False, False]
    assert ranks.above.tolist() == [MISSED] * 3 + [0]
    kept = rank_full(Table(scores), held_out, 4, keep_history=True)
    assert kept.unscored.tolist() == [True, False, False, False]
    assert rank_full(Table(np.zeros((4, 4))), held_out, 4).unscored is None


def test_vectors_that_hold_nan_are_an_error() -> None:
    items = np.ones((5, 2), dtype=np.float32)
    items[3] = np.nan
    scorer = DotProduct(items, lambda histories: np.ones((len(histories), 2), dtype=np.float32))
    with pytest.raises(InvalidScoresError, match="NaN"):
        rank_retrieved(scorer, LeaveOneOut().test(domain_of([[0, 1, 2]], 5)), 3)
