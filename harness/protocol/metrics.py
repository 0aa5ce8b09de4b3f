"""HR@K, NDCG@K and MRR@K of one held-out item a user, as expectations over ties.

With g items strictly above the held-out item and e tied with it, its rank is uniform on g+1 ... g+e+1, and a
metric is the mean of its gains over those ranks. A scorer that gives N items one score gets HR@K = K / N. An item that
is among the candidates only with some chance has that share of the mean.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from harness.protocol.ranks import Ranks

Floats = NDArray[np.float64]

CUTOFFS = (1, 3, 5, 10, 20)


def hr(ranks: Ranks, k: int) -> Floats:
    """Hit rate, HR@K = [r <= K]: float64 [n_users]. With one held-out item it is also Recall@K."""
    return _expected(ranks, k, np.ones)


def ndcg(ranks: Ranks, k: int) -> Floats:
    """NDCG@K = [r <= K] / log2(r + 1): float64 [n_users].

    Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002; with one relevant
    item the ideal DCG is 1.
    """
    return _expected(ranks, k, lambda n: 1 / np.log2(np.arange(2, n + 2)))


def mrr(ranks: Ranks, k: int) -> Floats:
    """Reciprocal rank cut at K, MRR@K = [r <= K] / r: float64 [n_users]."""
    return _expected(ranks, k, lambda n: 1 / np.arange(1, n + 1))


METRICS: Mapping[str, Callable[[Ranks, int], Floats]] = {"hr": hr, "ndcg": ndcg, "mrr": mrr}


def per_user(ranks: Ranks) -> dict[str, Floats]:
    """Every metric at every cutoff, named as in `ndcg@10`: float64 [n_users] each."""
    return {f"{name}@{k}": metric(ranks, k) for name, metric in METRICS.items() for k in CUTOFFS}


def _expected(ranks: Ranks, k: int, gains: Callable[[int], Floats]) -> Floats:
    # cumulative[r] = sum of the gains of ranks 1..r; ranks past K gain nothing.
    cumulative = np.concatenate([[0.0], np.cumsum(gains(k))])
    first = np.minimum(ranks.above, k)
    last = np.minimum(ranks.above + ranks.tied + 1, k)
    values = np.asarray((cumulative[last] - cumulative[first]) / (ranks.tied + 1), dtype=np.float64)
    return values if ranks.chance is None else values * ranks.chance
