"""Recommendation lists against sorting one user at a time."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.domain import Sequences
from harness.errors import HarnessError
from harness.protocol.recommendations import Recommendations, top_items

SCORES = st.sampled_from([0.0, 1.0, 2.0, math.inf, -math.inf])


def by_sorting(scores: list[float], excluded: list[int], n: int) -> list[int]:
    items = [i for i, score in enumerate(scores) if i not in excluded and score > -math.inf]
    items = sorted(items, key=lambda item: (-scores[item], item))[:n]
    return items + [-1] * (n - len(items))


@given(st.data(), st.integers(1, 9), st.integers(1, 5), st.integers(1, 12))
def test_lists_are_those_of_sorting(data: st.DataObject, n_items: int, n_users: int, n: int) -> None:
    scores = [[data.draw(SCORES) for _ in range(n_items)] for _ in range(n_users)]
    excluded = [data.draw(st.lists(st.integers(0, n_items - 1), max_size=8)) for _ in range(n_users)]
    array = np.array(scores, dtype=np.float32)
    lists = top_items(array, n, Sequences.of(excluded))
    assert lists.tolist() == [by_sorting(row, items, n) for row, items in zip(scores, excluded, strict=True)]
    assert array.tolist() == scores  # a scorer may keep its array


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int8, np.int64, np.uint64, np.float16, np.float64])
def test_lists_of_any_real_type(dtype: type) -> None:
    scores = np.array([[0, 3, 1, 3, 0, 2]]).astype(dtype)
    expected = by_sorting(scores[0].tolist(), [1], 4)
    assert top_items(scores, 4, Sequences.of([[1]])).tolist() == [expected]


def test_large_whole_numbers_are_not_rounded() -> None:
    scores = np.array([[2**53, 2**53 + 2, 2**53 + 1]])
    assert top_items(scores, 2).tolist() == [[1, 2]]


def test_blocks_of_users_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 5, (50, 20)).astype(np.float32)
    excluded = Sequences.of([rng.permutation(20)[:3] for _ in range(50)])
    whole = top_items(scores, 7, excluded)
    monkeypatch.setattr("harness.protocol.recommendations._CACHED_SCORES", 70)
    np.testing.assert_array_equal(top_items(scores, 7, excluded), whole)


def test_a_cutoff_beyond_the_lists_is_an_error() -> None:
    recommendations = Recommendations(np.zeros((3, 20), dtype=np.int64), np.ones(4, dtype=np.int64), ("a", "b", "c"))
    assert recommendations.top(5).shape == (3, 5)
    with pytest.raises(HarnessError, match="lists hold 20 items, not 21"):
        recommendations.top(21)
