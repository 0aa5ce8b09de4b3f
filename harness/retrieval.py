"""FAISS indexes over item vectors: exact while a catalogue is not too large, approximate and measured above."""

import math
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from harness.data.domain import Ints
from harness.errors import HarnessError

Floats32 = NDArray[np.float32]

#: Up to so many items the index is exact.
EXACT_UP_TO = 1_000_000
#: Queries that an approximate index's recall is measured with.
_SAMPLE = 256
_SEED = 0


@dataclass(frozen=True)
class IndexReport:
    """What an index is, and how much it finds.

    Attributes:
        kind: `exact`, or the approximate index with its parameters.
        recall: share of what an exact search finds that this one finds too: 1 for an exact one; for an approximate
            one the mean over sampled queries.
    """

    kind: str
    recall: float


class ItemIndex:
    """An inner-product index over a catalogue.

    Args:
        item_vectors: float32 [n_items, d].
        exact_up_to: catalogues of more items get an inverted-file index (faiss.IndexIVFFlat). It is built from a
            fixed seed by the one thread that a worker has, so two runs have one index.
    """

    def __init__(self, item_vectors: Floats32, exact_up_to: int = EXACT_UP_TO) -> None:
        self._vectors = np.ascontiguousarray(item_vectors, dtype=np.float32)
        n_items, width = self._vectors.shape
        self._exact = faiss.IndexFlatIP(width)
        self._lists = 0
        self._index: Any = self._exact
        if n_items > exact_up_to:
            self._lists = max(1, round(4 * math.sqrt(n_items)))
            self._index = faiss.IndexIVFFlat(self._exact, width, self._lists, faiss.METRIC_INNER_PRODUCT)
            self._index.cp.seed = _SEED
            self._index.cp.max_points_per_centroid = 64
            self._index.train(self._vectors)
        self._index.add(self._vectors)

    def tune(self, queries: Floats32, n: int, least_recall: float) -> IndexReport:
        """Makes an approximate index search as many lists as the recall takes, up to a quarter of them.

        Args:
            queries: float32 [n_queries, d], of which a sample is searched exactly too.
            n: items a query.
            least_recall: the recall to reach.

        Raises:
            HarnessError: a quarter of the lists does not reach it.
        """
        if not self._lists:
            return IndexReport("exact", 1.0)
        rows = np.linspace(0, len(queries) - 1, min(_SAMPLE, len(queries))).astype(np.int64)
        sample = np.ascontiguousarray(queries[rows], dtype=np.float32)
        exact = faiss.IndexFlatIP(self._vectors.shape[1])
        exact.add(self._vectors)
        _, wanted = exact.search(sample, n)
        probes = min(8, self._lists)
        while True:
            self._index.nprobe = probes
            recall = _recall(self._index.search(sample, n)[1], wanted)
            if recall >= least_recall or 2 * probes > max(8, self._lists // 4):
                break
            probes *= 2
        if recall < least_recall:
            raise HarnessError(
                f"The approximate index finds only {recall:.4f} of what an exact one finds, "
                f"and the suite asks for {least_recall}.",
                "Lower the suite's least_recall to accept that; it is said in the results.",
            )
        return IndexReport(f"IVF{self._lists},Flat nprobe={probes}", recall)

    def search(self, queries: Floats32, n: int) -> tuple[Ints, Floats32]:
        """The n nearest items of each query, best first.

        Args:
            queries: float32 [n_queries, d].
            n: items a query, at most the catalogue's size.

        Returns:
            Items, int64 [n_queries, n], -1 where an approximate index found fewer, and their scores, float32.
        """
        scores, items = self._index.search(np.ascontiguousarray(queries, dtype=np.float32), n)
        return items, scores


def _recall(found: Ints, wanted: Ints) -> float:
    hits = [len(np.intersect1d(a, b)) for a, b in zip(found, wanted, strict=True)]
    return float(np.sum(hits) / wanted.size)
