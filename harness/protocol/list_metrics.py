"""Metrics of recommended lists: what a method recommends, whether or not it is the held-out item.

A list metric is a function `metric(recommendations, k)` of the top-k lists that gives one number, or float64 [n_users]
with NaN for an empty list. It is found by the entry point group `cdsr_harness.list_metrics`.
"""

import numpy as np

from harness.data.domain import Ints
from harness.protocol.metrics import Floats
from harness.protocol.recommendations import Recommendations


def coverage(recommendations: Recommendations, k: int) -> float:
    """Item coverage: share of the catalogue that is in the top-k list of at least one user.

    Ge, Delgado-Battenfeld and Jannach, "Beyond accuracy: evaluating recommender systems by coverage and serendipity",
    RecSys 2010.
    """
    return float((_times_recommended(recommendations, k) > 0).mean())


def gini(recommendations: Recommendations, k: int) -> float:
    """Gini index of how often each item of the catalogue is recommended: 0 for all alike, near 1 for few items only.

    Shani and Gunawardana, "Evaluating recommendation systems", Recommender Systems Handbook 2011.
    """
    counts = np.sort(_times_recommended(recommendations, k))
    n = len(counts)
    total = counts.sum()
    return float(((2 * np.arange(1, n + 1) - n - 1) * counts).sum() / (n * total)) if total else 0.0


def novelty(recommendations: Recommendations, k: int) -> Floats:
    """Mean self-information of the recommended items in bits, -log2 p(item): float64 [n_users].

    p is an item's share of the training interactions, with one added to each item's count, so that an item without
    any is finite. Zhou et al., "Solving the apparent diversity-accuracy dilemma of recommender systems", PNAS 2010.
    """
    counts = recommendations.popularity + 1
    return _mean_over_list(-np.log2(counts / counts.sum()), recommendations.top(k))


def popularity(recommendations: Recommendations, k: int) -> Floats:
    """Average recommendation popularity: mean training interactions of the recommended items: float64 [n_users].

    Yin et al., "Challenging the long tail recommendation", VLDB 2012.
    """
    return _mean_over_list(recommendations.popularity.astype(np.float64), recommendations.top(k))


def _times_recommended(recommendations: Recommendations, k: int) -> Ints:
    """int64 [n_items]."""
    items = recommendations.top(k)
    return np.bincount(items[items >= 0], minlength=len(recommendations.popularity))


def _mean_over_list(values: Floats, lists: Ints) -> Floats:
    """Mean of item values (float64 [n_items]) over each list: float64 [n_users], NaN for an empty list."""
    recommended = lists >= 0
    sums = np.where(recommended, values[lists], 0.0).sum(axis=1)
    lengths = recommended.sum(axis=1)
    means: Floats = np.divide(sums, lengths, out=np.full(len(lists), np.nan), where=lengths > 0)
    return means
