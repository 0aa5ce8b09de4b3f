import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.errors import HarnessError
from harness.protocol.candidate_names import candidate_count, find_candidate_set
from harness.protocol.negatives import candidates_digest, draw_some, sample_candidates
from tests.conftest import domain_of


@given(
    st.lists(st.lists(st.integers(0, 39), min_size=0, max_size=10), min_size=1, max_size=8),
    st.integers(2, 20),
    st.integers(0, 2**63 - 1),
    st.data(),
)
def test_held_out_item_once_no_history_no_duplicates(
    sequences: list[list[int]], size: int, seed: int, data: st.DataObject
) -> None:
    histories = domain_of(sequences, 40).interactions
    targets = np.array(data.draw(st.lists(st.integers(0, 39), min_size=len(sequences), max_size=len(sequences))))
    drawn = sample_candidates(histories, targets, 40, size, seed)
    assert drawn.shape == (len(sequences), size)
    for row, history, target in zip(drawn, sequences, targets, strict=True):
        assert (row == target).sum() == 1
        assert len(set(row)) == size
        assert not (set(row) - {target}) & set(history)
        assert row.tolist() == sorted(row)


def mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    return z ^ (z >> 31)


def plain(sequences: list[list[int]], targets: list[int], n_items: int, size: int, seed: int) -> list[list[int]]:
    """The draw in Python integers, one user and one draw at a time."""
    golden, rows = 0x9E3779B97F4A7C15, []
    for user, (history, target) in enumerate(zip(sequences, targets, strict=True)):
        state = mix(mix((seed + golden) % 2**64) ^ ((user + 1) * golden) % 2**64)
        row, draw = [target], 0
        while len(row) < size:
            draw += 1
            item = mix((state + draw * golden) % 2**64) % n_items
            if item not in history and item not in row:
                row.append(item)
        rows.append(sorted(row))
    return rows


@given(
    st.lists(st.lists(st.integers(0, 29), max_size=12), min_size=1, max_size=6),
    st.integers(2, 17),
    st.integers(0, 2**63 - 1),
    st.data(),
)
def test_the_draw_against_plain_python(sequences: list[list[int]], size: int, seed: int, data: st.DataObject) -> None:
    targets = data.draw(st.lists(st.integers(0, 29), min_size=len(sequences), max_size=len(sequences)))
    histories = domain_of(sequences, 30).interactions
    drawn = sample_candidates(histories, np.array(targets), 30, size, seed)
    assert drawn.tolist() == plain(sequences, targets, 30, size, seed)


def test_the_draw_is_the_same_on_any_machine() -> None:
    histories = domain_of([[0, 1], [2], []], 50).interactions
    drawn = sample_candidates(histories, np.array([3, 4, 5]), 50, 6, seed=42)
    # Written down once; no library's random numbers are involved.
    assert drawn.tolist() == [[3, 14, 18, 21, 47, 49], [4, 17, 31, 35, 37, 38], [0, 5, 10, 13, 15, 24]]
    assert candidates_digest(drawn) == candidates_digest(drawn.astype(np.int32))


def test_a_draw_does_not_depend_on_other_users() -> None:
    alone = sample_candidates(domain_of([[0, 1]], 50).interactions, np.array([3]), 50, 6, 42)
    among = sample_candidates(domain_of([[0, 1], [7]], 50).interactions, np.array([3, 9]), 50, 6, 42)
    assert alone[0].tolist() == among[0].tolist()


def test_negatives_are_uniform() -> None:
    n_users, n_items = 4000, 21
    histories = domain_of([[0]] * n_users, n_items).interactions
    drawn = sample_candidates(histories, np.full(n_users, 1), n_items, 5, seed=3)
    counts = np.bincount(drawn.ravel(), minlength=n_items)[2:]
    assert counts.sum() == 4 * n_users
    assert stats.chisquare(counts).pvalue > 1e-3


def test_different_seeds_draw_differently() -> None:
    histories = domain_of([[0]] * 20, 100).interactions
    first, second = (sample_candidates(histories, np.full(20, 1), 100, 30, seed) for seed in (0, 1))
    assert (first != second).any()


def test_too_small_a_catalogue_is_an_error() -> None:
    with pytest.raises(HarnessError, match="1 of 1 users have fewer than 9 items outside the history"):
        sample_candidates(domain_of([[0, 1]], 10).interactions, np.array([2]), 10, 10, 0)


@pytest.mark.parametrize(
    ("name", "number"), [("full", 0), ("full-history-kept", 0), ("sampled-30", 30), ("retrieved-100", 100)]
)
def test_candidate_sets_are_found_by_name(name: str, number: int) -> None:
    assert find_candidate_set(name)[1] == number
    assert candidate_count(name) == number


@pytest.mark.parametrize(
    "name", ["", "Full", "full-3", "sampled", "sampled-N", "sampled-", "sampled-1", "retrieved-0", "top-5", " full"]
)
def test_unknown_candidate_sets_are_refused(name: str) -> None:
    with pytest.raises(HarnessError, match="full, full-history-kept, retrieved-N or sampled-N"):
        find_candidate_set(name)


def test_a_draw_among_ties_is_uniform_and_independent_of_their_order() -> None:
    items = np.array([3, 8, 11, 40, 41, 70])
    drawn = [draw_some(items, user, 2) for user in range(6000)]
    counts = np.bincount(np.concatenate(drawn), minlength=71)[items]
    assert stats.chisquare(counts).pvalue > 1e-3
    for user in range(50):
        assert set(draw_some(items[::-1], user, 2)) == set(drawn[user])
        assert len(set(drawn[user])) == 2
