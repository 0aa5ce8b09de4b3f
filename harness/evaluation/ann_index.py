"""Indexes over item vectors: exact while a catalogue is not too large, approximate (FAISS) and measured above."""

import math
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from harness.data.domain import Ints, Sequences
from harness.errors import HarnessError

Floats32 = NDArray[np.float32]

#: Largest catalogue with an exact index.
EXACT_UP_TO = 1_000_000
#: Users on whom an approximate index's recall is measured.
_SAMPLE = 1000
_SEED = 0
#: Scores held at once: 64 MB of float32.
_BLOCK_SCORES = 2**24
#: Two ways to compute one dot product differ by less than this share of the largest.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class IndexReport:
    """The kind of an index and its recall.

    Attributes:
        kind: `exact`, or the approximate index with its parameters.
        recall: share of the nearest items outside the history that are found, mean over users: 1 for an exact index;
            for an approximate one the mean over a random draw of users.
        interval: the mean over all users, with 95 % confidence: Wilson's interval with each drawn user as one trial.
            A user's recall is a share, so it varies less than a trial does, and the interval errs on the wide side.
            None for an exact index.
        users: number of drawn users.
    """

    kind: str
    recall: float
    interval: tuple[float, float] | None = None
    users: int = 0


def sample_users(n_users: int) -> Ints:
    """A random draw of users for measuring recall, the same each time: int64 [at most n_users], rising."""
    rng = np.random.default_rng(_SEED)
    drawn: Ints = np.sort(rng.choice(n_users, min(_SAMPLE, n_users), replace=False))
    return drawn


class ItemIndex:
    """An inner-product index over a catalogue.

    Args:
        item_vectors: float32 [n_items, d].
        exact_up_to: catalogues of more items get an inverted-file index (faiss.IndexIVFFlat). It is built from a
            fixed seed by a worker's single thread, so that two runs have one index.
    """

    def __init__(self, item_vectors: Floats32, exact_up_to: int = EXACT_UP_TO) -> None:
        self._vectors = item_vectors
        n_items, width = item_vectors.shape
        self._lists = 0
        if n_items > exact_up_to:
            self._vectors = np.ascontiguousarray(item_vectors, dtype=np.float32)
            self._lists = max(1, round(4 * math.sqrt(n_items)))
            self._quantizer = faiss.IndexFlatIP(width)  # FAISS keeps no reference to it
            self._index: Any = faiss.IndexIVFFlat(self._quantizer, width, self._lists, faiss.METRIC_INNER_PRODUCT)
            self._index.cp.seed = _SEED
            self._index.cp.max_points_per_centroid = 64
            self._index.train(self._vectors)
            self._index.add(self._vectors)

    def __len__(self) -> int:
        """Number of items."""
        return len(self._vectors)

    def tune(
        self, queries: Floats32, histories: Sequences, n: int, least_recall: float, all_users: bool = False
    ) -> IndexReport:
        """Sets the number of lists that an approximate index searches to reach a recall, up to a quarter of them.

        Args:
            queries: float32 [n_users, d], of a random draw of users.
            histories: their histories, which are not counted.
            n: nearest items of each user, outside the history, that should be found.
            least_recall: the recall to reach.
            all_users: the queries are of all users, so that the recall is exact.

        Raises:
            HarnessError: a quarter of the lists does not reach it.
        """
        if not self._lists:
            return IndexReport("exact", 1.0)
        thresholds, targets = self._thresholds(queries, histories, n)
        probes = min(8, self._lists)
        while True:
            self._index.nprobe = probes
            recall = float(np.mean(self._hits(queries, histories, n, thresholds, targets) / targets))
            if recall >= least_recall or 2 * probes > max(8, self._lists // 4):
                break
            probes *= 2
        if recall < least_recall:
            raise HarnessError(
                f"The approximate index finds only {recall:.4f} of what an exact one finds, "
                f"and the suite asks for {least_recall}.",
                "Lower the suite's least_recall to accept that; results record it.",
            )
        # Not at the top: it imports much, and a run whose results are all in the cache makes no index.
        from statsmodels.stats.proportion import proportion_confint

        low, high = proportion_confint(recall * len(queries), len(queries), method="wilson")
        interval = (recall, recall) if all_users else (float(low), float(high))
        return IndexReport(f"IVF{self._lists},Flat nprobe={probes}", recall, interval, len(queries))

    def scores(self, queries: Floats32, n: int) -> Floats32:
        """Dot products of queries with the items found: at least the n nearest, with all that tie with the last.

        Args:
            queries: float32 [n_queries, d].
            n: items a query; an exact index finds all.

        Returns:
            float32 [n_queries, n_items], -inf where an approximate index did not find the item.
        """
        if not self._lists:
            return queries @ self._vectors.T
        n_items = len(self)
        n = min(n, n_items)
        asked = min(n + 1, n_items)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        while True:
            scores, items = self._index.search(queries, asked)
            ties_go_on = (items[:, -1] >= 0) & (scores[:, -1] == scores[:, n - 1])
            if asked == n_items or not ties_go_on.any():
                break
            asked = min(2 * asked, n_items)
        full = np.full((len(queries), n_items), -np.inf, dtype=np.float32)
        rows, columns = np.nonzero(items >= 0)  # -1 where the index found no more
        full[rows, items[rows, columns]] = scores[rows, columns]
        return full

    def _thresholds(self, queries: Floats32, histories: Sequences, n: int) -> tuple[NDArray[np.float64], Ints]:
        """For each user, the dot product of the n-th nearest item outside the history less a rounding margin, and the
        number of items to find (n, or fewer): float64 and int64 [n_users].
        """
        thresholds, targets = np.empty(len(queries)), np.empty(len(queries), dtype=np.int64)
        for row, query in enumerate(queries):
            exact = self._vectors @ query
            outside = np.delete(exact, np.unique(histories[row]))
            targets[row] = max(1, min(n, len(outside)))
            nearest = np.partition(outside, -targets[row])[-targets[row]] if len(outside) else -np.inf
            thresholds[row] = nearest - _ROUNDING * np.abs(exact).max()
        return thresholds, targets

    def _hits(
        self, queries: Floats32, histories: Sequences, n: int, thresholds: NDArray[np.float64], targets: Ints
    ) -> Ints:
        """Number of the nearest items outside the history that are found: int64 [n_users]. Of items that tie for the
        last place, any counts.
        """
        hits = []
        size = max(1, _BLOCK_SCORES // len(self))
        for rows in np.array_split(np.arange(len(queries)), math.ceil(len(queries) / size)):
            seen = histories.select(rows)
            scores = self.scores(queries[rows], n + int(seen.lengths.max(initial=0)))
            scores[seen.users, seen.items] = -np.inf
            hits.append(np.count_nonzero(scores >= thresholds[rows, None], axis=1))
        counts: Ints = np.minimum(np.concatenate(hits), targets)
        return counts
