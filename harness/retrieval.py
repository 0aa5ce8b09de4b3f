"""FAISS indexes over item vectors."""

import faiss
import numpy as np
from numpy.typing import NDArray

from harness.data.domain import Ints

Floats32 = NDArray[np.float32]


class ItemIndex:
    """An exact inner-product index over a catalogue (faiss.IndexFlatIP)."""

    def __init__(self, item_vectors: Floats32) -> None:
        self._index = faiss.IndexFlatIP(item_vectors.shape[1])
        self._index.add(np.ascontiguousarray(item_vectors, dtype=np.float32))

    def search(self, queries: Floats32, n: int) -> tuple[Ints, Floats32]:
        """The n nearest items of each query, best first.

        Args:
            queries: float32 [n_queries, d].
            n: items a query, at most the catalogue's size.

        Returns:
            Items, int64 [n_queries, n], and their scores, float32 [n_queries, n].
        """
        scores, items = self._index.search(np.ascontiguousarray(queries, dtype=np.float32), n)
        return items, scores
