"""Metrics of one held-out item per user, as expectations over ties: HR@K, NDCG@K, MRR@K, and those of other packages.

A metric is a function of ranks and a cutoff, `metric(ranks, k) -> float64 [n_users]`, found by the entry point group
`cdsr_harness.metrics`. It is written as in papers, `ndcg@10`, and can be computed for any result at any cutoff.

With g items strictly above the held-out item and e tied with it, its rank is uniform on g+1 ... g+e+1, and a
metric is the mean of its gains over those ranks. A scorer that gives N items one score gets HR@K = K / N. An item that
is among the candidates only with some probability has that share of the mean.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.extensions import LIST_METRICS, METRICS, extensions, load_extension
from harness.protocol.ranks import Ranks
from harness.protocol.recommendations import ListMetric

Floats = NDArray[np.float64]

#: float64 [n_users] of ranks and a cutoff.
Metric = Callable[[Ranks, int], Floats]

#: Cutoffs of the metrics that a result file holds.
CUTOFFS = (1, 3, 5, 10, 20)


def hr(ranks: Ranks, k: int) -> Floats:
    """Hit rate, HR@K = [r <= K]: float64 [n_users]. With one held-out item it is also Recall@K.

    Deshpande and Karypis, "Item-based top-N recommendation algorithms", TOIS 2004.
    """
    return expected_gain(ranks, k, np.ones)


def ndcg(ranks: Ranks, k: int) -> Floats:
    """NDCG@K = [r <= K] / log2(r + 1): float64 [n_users].

    Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002; with one relevant
    item the ideal DCG is 1.
    """
    return expected_gain(ranks, k, lambda n: 1 / np.log2(np.arange(2, n + 2)))


def mrr(ranks: Ranks, k: int) -> Floats:
    """Reciprocal rank cut at K, MRR@K = [r <= K] / r: float64 [n_users].

    Voorhees, "The TREC-8 question answering track report", TREC 1999.
    """
    return expected_gain(ranks, k, lambda n: 1 / np.arange(1, n + 1))


def expected_gain(ranks: Ranks, k: int, gains: Callable[[int], Floats]) -> Floats:
    """A metric that is a gain of the rank, as the expectation over ties: float64 [n_users].

    Args:
        ranks: of n_users held-out items.
        k: the cutoff: ranks past it gain nothing.
        gains: gives the gains of the ranks 1 ... k, float64 [k].
    """
    # cumulative[r] = sum of the gains of ranks 1..r.
    cumulative = np.concatenate([[0.0], np.cumsum(gains(k))])
    first = np.minimum(ranks.above, k)
    last = np.minimum(ranks.above + ranks.tied + 1, k)
    values = np.asarray((cumulative[last] - cumulative[first]) / (ranks.tied + 1), dtype=np.float64)
    return values if ranks.chance is None else values * ranks.chance


#: The metrics that a result file holds, whatever else is installed.
RECORDED: Mapping[str, Metric] = {"hr": hr, "ndcg": ndcg, "mrr": mrr}


def per_user(ranks: Ranks) -> dict[str, Floats]:
    """The recorded metrics at the recorded cutoffs, named as in `ndcg@10`: float64 [n_users] each."""
    return {f"{name}@{k}": metric(ranks, k) for name, metric in RECORDED.items() for k in CUTOFFS}


def find_metric(name: str) -> tuple[Metric, int]:
    """The metric and the cutoff of a name such as `ndcg@7`.

    Raises:
        HarnessError: the name has another form, no such metric is installed, or it is a metric of lists.
    """
    return _find(METRICS, name)


def is_list_metric(name: str) -> bool:
    """Whether a name such as `coverage@10` is that of a metric of recommended lists."""
    return name.partition("@")[0] in extensions(LIST_METRICS)


def find_list_metric(name: str) -> tuple[ListMetric, int]:
    """The list metric and the cutoff of a name such as `coverage@10`.

    Raises:
        HarnessError: the name has another form, or no such list metric is installed.
    """
    return _find(LIST_METRICS, name)


def _find(group: str, name: str) -> tuple[Any, int]:
    match = re.fullmatch(r"([A-Za-z][\w-]*)@([1-9]\d{0,8})", name)
    if match is None:
        raise HarnessError(f"Metric {name!r} has no cutoff.", "Write it as in ndcg@10.")
    entries = extensions(group)
    if match[1] not in entries:
        raise HarnessError.unknown("metric", match[1], [*extensions(METRICS), *extensions(LIST_METRICS)])
    return load_extension(entries[match[1]]), int(match[2])
