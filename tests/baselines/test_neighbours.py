"""Counting baselines equal plain Python."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baselines.neighbours import ItemKnn, ItemKnnSettings, Markov, MarkovSettings, similarities
from baselines.popularity import RecentPopularity, RecentSettings
from harness.errors import HarnessError
from harness.protocol.split import Histories, LeaveOneOut, TrainingData
from harness.tuning.tunable import configured
from tests.conftest import domain_of

N_ITEMS = 6
SEQUENCES = st.lists(st.lists(st.integers(0, N_ITEMS - 1), min_size=3, max_size=8), min_size=1, max_size=6)


def data_of(sequences: list[list[int]], timed: bool = True) -> TrainingData:
    domain = LeaveOneOut().training(domain_of(sequences, N_ITEMS))
    if not timed:
        from dataclasses import replace

        domain = replace(domain, timed=False)
    return TrainingData("toy", (), {"toy": domain})


def histories_of(sequences: list[list[int]]) -> Histories:
    return Histories(np.arange(len(sequences)), domain_of(sequences, N_ITEMS).interactions)


@given(SEQUENCES, st.floats(0.01, 50))
def test_markov_scores(sequences, prior: float) -> None:
    scorer = Markov(MarkovSettings(prior)).fit(data_of(sequences), None)
    train = [s[:-2] for s in sequences]
    popularity = np.bincount([i for s in train for i in s], minlength=N_ITEMS) / sum(map(len, train))
    scores = scorer.score(histories_of([[0, 3], [2], []]), None)
    for row, latest in zip(scores, (3, 2, None), strict=True):
        counts = np.zeros(N_ITEMS)
        for s in train:
            for before, after in itertools.pairwise(s):
                counts[after] += before == latest
        np.testing.assert_allclose(row, (counts + prior * popularity) / (counts.sum() + prior), rtol=1e-5)


@given(SEQUENCES, st.integers(1, 6), st.floats(0, 20))
def test_item_knn_similarities(sequences, neighbours: int, shrinkage: float) -> None:
    settings = ItemKnnSettings(neighbours, 0.5, shrinkage)
    actual = similarities(domain_of(sequences, N_ITEMS).interactions, N_ITEMS, settings).toarray()
    users = np.array([[i in s for i in range(N_ITEMS)] for s in sequences], dtype=float)
    expected = np.zeros((N_ITEMS, N_ITEMS))
    for i in range(N_ITEMS):
        row = {}
        for j in range(N_ITEMS):
            both = (users[:, i] * users[:, j]).sum()
            if i != j and both:
                row[j] = both / (np.sqrt(users[:, i].sum() * users[:, j].sum()) + shrinkage)
        for j in sorted(row, key=lambda j: (-round(row[j], 12), j))[:neighbours]:
            expected[i, j] = row[j]
    # Sorted, as it depends on rounding which of equally similar items are kept.
    np.testing.assert_allclose(np.sort(actual), np.sort(expected), atol=1e-9)


def test_item_knn_weights_later_items_more_and_adds_repeats() -> None:
    sequences = [[0, 1, 5, 5], [2, 3, 5, 5]]
    scorer = ItemKnn(ItemKnnSettings(10, 0.5, 0.0)).fit(data_of(sequences), None)
    scores = scorer.score(histories_of([[0, 2], [0, 2, 0]]), None)
    assert scores[0].tolist() == [0.0, 0.5, 0.0, 1.0, 0.0, 0.0]
    assert scores[1].tolist() == [0.0, 1.25, 0.0, 0.5, 0.0, 0.0]
    candidate_scores = scorer.score(histories_of([[0, 2], [0, 2, 0]]), np.array([[1, 3], [1, 3]]))
    assert candidate_scores.tolist() == [[0.5, 1.0], [1.25, 0.5]]


def test_recent_popularity_with_timestamps() -> None:
    # Events at instants 0, 1, 2, ...; the last two of each user are held out.
    data = data_of([[0, 0, 0, 1, 5, 5], [1, 1, 2, 3, 5, 5]])
    scores = RecentPopularity(RecentSettings(0.5)).fit(data, None).score(histories_of([[0]]), None)[0]
    assert np.floor(scores).tolist() == [0, 2, 1, 1, 0, 0]
    assert scores[0] > scores[4]  # ties are broken by all-time counts


def test_recent_popularity_without_timestamps() -> None:
    data = data_of([[0, 0, 0, 1, 5, 5], [1, 1, 2, 3, 5, 5]], timed=False)
    scores = RecentPopularity(RecentSettings(0.25)).fit(data, None).score(histories_of([[0]]), None)[0]
    assert np.floor(scores).tolist() == [0, 1, 0, 1, 0, 0]


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5])
def test_invalid_shares_raise(share: float) -> None:
    with pytest.raises(HarnessError, match="share"):
        configured(RecentPopularity(), {"share": share}, "settings")
