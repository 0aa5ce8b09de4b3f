"""Metrics of recommendation lists against brute force."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.protocol.list_metrics import coverage, gini, novelty, popularity
from harness.protocol.recommendations import Recommendations


@st.composite
def recommendations(draw: st.DrawFn) -> Recommendations:
    n_items, n_users = draw(st.integers(1, 8)), draw(st.integers(1, 6))
    lists = []
    for _ in range(n_users):
        items = draw(st.permutations(range(n_items)))[: draw(st.integers(0, n_items))]
        lists.append([*items, *[-1] * (9 - len(items))])
    counts = draw(st.lists(st.integers(0, 9), min_size=n_items, max_size=n_items))
    return Recommendations(np.array(lists), np.array(counts), tuple(f"u{u}" for u in range(n_users)))


def top(lists: Recommendations, k: int) -> list[list[int]]:
    return [[item for item in row[:k] if item >= 0] for row in lists.items.tolist()]


@given(recommendations(), st.integers(1, 9))
def test_coverage_counts_distinct_items(lists: Recommendations, k: int) -> None:
    items = {item for row in top(lists, k) for item in row}
    assert coverage(lists, k) == pytest.approx(len(items) / len(lists.popularity))


@given(recommendations(), st.integers(1, 9))
def test_gini_is_half_the_relative_mean_difference_of_all_pairs(lists: Recommendations, k: int) -> None:
    n = len(lists.popularity)
    counts = [sum(item in row for row in top(lists, k)) for item in range(n)]
    differences = sum(abs(a - b) for a in counts for b in counts)
    expected = differences / (2 * n * sum(counts)) if sum(counts) else 0.0
    assert gini(lists, k) == pytest.approx(expected)


@given(recommendations(), st.integers(1, 9))
def test_novelty_and_popularity_are_means_over_each_list(lists: Recommendations, k: int) -> None:
    counts = lists.popularity.tolist()
    total = sum(counts) + len(counts)
    expected_novelty = [
        np.mean([-math.log2((counts[item] + 1) / total) for item in row]) if row else math.nan for row in top(lists, k)
    ]
    expected_popularity = [np.mean([counts[item] for item in row]) if row else math.nan for row in top(lists, k)]
    np.testing.assert_allclose(novelty(lists, k), expected_novelty)
    np.testing.assert_allclose(popularity(lists, k), expected_popularity)


def test_extremes() -> None:
    users = ("a", "b", "c", "d")
    one_item = Recommendations(np.array([[0]] * 4), np.array([1, 1, 1, 1]), users)
    each_another = Recommendations(np.array([[0], [1], [2], [3]]), np.array([1, 1, 1, 1]), users)
    assert (coverage(one_item, 1), gini(one_item, 1)) == (0.25, 0.75)
    assert (coverage(each_another, 1), gini(each_another, 1)) == (1.0, 0.0)
    assert novelty(each_another, 1).tolist() == [2.0] * 4
