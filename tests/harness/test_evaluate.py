import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.evaluate import rank_candidates, rank_full, rank_retrieved, validation_ndcg
from harness.method import DotProduct, pick
from harness.protocol.metrics import per_user
from harness.protocol.ranking import MISSED, InvalidScoresError
from harness.protocol.split import HeldOut, Histories, LeaveOneOut
from harness.retrieval import ItemIndex
from tests.conftest import domain_of


class Table:
    """Scores written down for each user."""

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = scores.astype(np.float32)

    def score(self, histories, candidates):
        return pick(self.scores[histories.users], candidates)


def random_held_out(rng: np.random.Generator, n_users: int = 20, n_items: int = 30) -> HeldOut:
    sequences = [list(rng.permutation(n_items)[: rng.integers(3, 9)]) for _ in range(n_users)]
    return LeaveOneOut().test(domain_of(sequences, n_items))


def brute_rank(scores: np.ndarray, target: int, items: set[int]) -> tuple[int, int]:
    others = [i for i in items if i != target]
    return sum(scores[i] > scores[target] for i in others), sum(scores[i] == scores[target] for i in others)


@given(st.integers(0, 10**6))
def test_full_is_the_catalogue_less_the_history(seed: int) -> None:
    rng = np.random.default_rng(seed)
    held_out = random_held_out(rng)
    scores = rng.integers(0, 6, (20, 30)).astype(np.float32)
    ranks = rank_full(Table(scores), held_out, 30)
    for u in range(20):
        items = set(range(30)) - set(held_out.histories.sequences[u].tolist()) | {int(held_out.targets[u])}
        assert (ranks.above[u], ranks.tied[u]) == brute_rank(scores[u], held_out.targets[u], items)
        assert ranks.candidates[u] == len(items)


def test_a_repeated_item_stays_although_the_history_holds_it() -> None:
    held_out = LeaveOneOut().test(domain_of([[0, 1, 2, 0]], 5))
    ranks = rank_full(Table(np.array([[5, 9, 9, 1, 1]])), held_out, 5)
    assert (ranks.above[0], ranks.candidates[0]) == (0, 3)


def vectors(rng: np.random.Generator, n_users: int, n_items: int) -> DotProduct:
    items = rng.normal(size=(n_items, 8)).astype(np.float32)
    users = rng.normal(size=(n_users, 8)).astype(np.float32)
    return DotProduct(items, lambda histories: users[histories.users])


@given(st.integers(0, 10**6), st.integers(1, 40))
def test_retrieved_is_the_top_of_full_and_a_miss_below(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    held_out = random_held_out(rng)
    scorer = vectors(rng, 20, 30)
    full, retrieved = rank_full(scorer, held_out, 30), rank_retrieved(scorer, held_out, size)[0]
    size = min(size, 30 - int(held_out.histories.sequences.lengths.max()))
    found = full.above < size
    assert (retrieved.above[found] == full.above[found]).all()
    assert (retrieved.above[~found] == MISSED).all()
    assert (retrieved.candidates == size).all()


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
    monkeypatch.setattr("harness.evaluate._BLOCK_SCORES", 70)
    np.testing.assert_array_equal(rank_full(scorer, held_out, 30).above, whole.above)
    np.testing.assert_array_equal(
        rank_retrieved(scorer, held_out, 21)[0].above,
        whole.above.clip(max=20) * 0 + np.where(whole.above < 21, whole.above, MISSED),
    )


def test_what_fills_the_places_that_an_index_left_empty_is_not_of_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    held_out = LeaveOneOut().test(domain_of([[1, 2, 3, 9]], 10))
    scorer = vectors(np.random.default_rng(0), 1, 10)
    monkeypatch.setattr(ItemIndex, "search", lambda self, queries, k: (np.full((1, k), -1), np.zeros((1, k))))
    ranks, _ = rank_retrieved(scorer, held_out, 6)
    # The six lowest items outside the history {1, 2, 3}: the held-out item 9 is not among them.
    assert ranks.above.tolist() == [MISSED]
    asked = []
    monkeypatch.setattr("harness.evaluate.rank_candidates", lambda s, h, c, *_: asked.append(c) or ranks)
    rank_retrieved(scorer, held_out, 6)
    assert asked[0].tolist() == [[0, 4, 5, 6, 7, 8]]


def test_scores_of_the_wrong_shape_or_nan_are_errors() -> None:
    held_out = LeaveOneOut().test(domain_of([[0, 1, 2]], 5))
    with pytest.raises(InvalidScoresError, match=r"shape \[1, 4\] where \[1, 5\]"):
        rank_full(Table(np.zeros((1, 4))), held_out, 5)
    with pytest.raises(InvalidScoresError, match="NaN"):
        rank_candidates(Table(np.full((1, 5), np.nan)), held_out, np.array([[1, 2]]), 5)


def test_validation_ndcg_knows_a_perfect_scorer() -> None:
    training = LeaveOneOut().training(domain_of([[0, 1, 2, 3], [3, 2, 1, 0]], 4))
    perfect = np.zeros((2, 4))
    perfect[[0, 1], training.validation.targets] = 1
    assert validation_ndcg(Table(perfect), training) == 1


def test_histories_given_to_a_scorer_hold_no_target() -> None:
    held_out = random_held_out(np.random.default_rng(5))
    whole = domain_of([[1, 2, 3]], 5)
    assert isinstance(held_out.histories, Histories)
    assert list(LeaveOneOut().test(whole).histories.sequences[0]) == [1, 2]


def test_a_history_that_is_kept_stands_among_the_candidates() -> None:
    held_out = LeaveOneOut().test(domain_of([[0, 1, 2, 3]], 6))
    scorer = Table(np.array([[9.0, 8.0, 7.0, 6.0, 5.0, 4.0]]))
    assert rank_full(scorer, held_out, 6).above.tolist() == [0]
    kept = rank_full(scorer, held_out, 6, keep_history=True)
    assert (kept.above.tolist(), kept.candidates.tolist()) == ([3], [6])
