"""Item-to-item baselines: a first-order Markov chain, and item-kNN over sequences.

Both are known to be hard to beat (Ludewig and Jannach, UMUAI 2018; Dacrema et al., RecSys 2019).
"""

from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Le
from scipy import sparse

from harness.data.domain import Ints, Sequences
from harness.methods.api import FitContext, Floats32, Scorer, gather_candidates
from harness.protocol.split import Histories, TrainingData
from harness.tuning.space import Space


@dataclass(frozen=True)
class MarkovSettings:
    """Settings of the Markov chain.

    Attributes:
        prior: pseudo-transitions added to each row of the chain, distributed by popularity.
    """

    prior: Annotated[float, Gt(0)] = 1.0


@dataclass(frozen=True)
class Markov:
    """Scores an item by the estimated probability that it follows the latest one: a first-order Markov chain."""

    settings: MarkovSettings = field(default_factory=MarkovSettings)
    space: Space = field(default_factory=lambda: Space.of_package("baselines", "markov"))

    def learns_from(self, target: str, sources: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG002
        """The target only."""
        return (target,)

    def fit(self, data: TrainingData, context: FitContext) -> Scorer:  # noqa: ARG002 - nothing to draw
        """Count transitions between consecutive items in the target's training sequences."""
        train, n_items = data.target_domain.train, len(data.target_domain.catalogue)
        inner = train.from_end[:-1] > 0  # interactions followed by another one of the same user
        before, after = train.items[:-1][inner], train.items[1:][inner]
        counts = sparse.csr_array((np.ones(len(before)), (before, after)), shape=(n_items, n_items))
        popularity = np.bincount(train.items, minlength=n_items) / max(1, len(train.items))
        return _Chain(counts, popularity, self.settings.prior)


@dataclass(frozen=True)
class _Chain:
    counts: Any  # transitions, sparse float64 [n_items, n_items]
    popularity: np.ndarray[Any, np.dtype[np.float64]]
    prior: float

    def score(self, histories: Histories, candidates: Ints | None) -> Floats32:
        latest, known = _latest(histories.sequences)
        counts = self.counts[latest].toarray() * known[:, None]
        scores = (counts + self.prior * self.popularity) / (counts.sum(axis=1, keepdims=True) + self.prior)
        return gather_candidates(scores.astype(np.float32), candidates)


@dataclass(frozen=True)
class ItemKnnSettings:
    """Settings of item-kNN.

    Attributes:
        neighbours: number of most similar items kept for each item.
        decay: weight of an item of the history relative to the next later one.
        shrinkage: added to the product of norms, which lowers similarities based on few users.
    """

    neighbours: Annotated[int, Ge(1)] = 100
    decay: Annotated[float, Gt(0), Le(1)] = 0.8
    shrinkage: Annotated[float, Ge(0)] = 10.0


@dataclass(frozen=True)
class ItemKnn:
    """Scores an item by its cosine similarity, over users, to the items of the history; later items weigh more."""

    settings: ItemKnnSettings = field(default_factory=ItemKnnSettings)
    space: Space = field(default_factory=lambda: Space.of_package("baselines", "item-knn"))

    def learns_from(self, target: str, sources: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG002
        """The target only."""
        return (target,)

    def fit(self, data: TrainingData, context: FitContext) -> Scorer:  # noqa: ARG002 - nothing to draw
        """Compute item similarities."""
        train, n_items = data.target_domain.train, len(data.target_domain.catalogue)
        return _Neighbours(similarities(train, n_items, self.settings), self.settings.decay)


def similarities(train: Sequences, n_items: int, settings: ItemKnnSettings) -> Any:
    """Similarities of each item to its nearest neighbours: sparse float64 [n_items, n_items], a row an item.

    The similarity of i and j is n_ij / (sqrt(n_i n_j) + shrinkage), with n_ij users who have both.
    """
    pairs = np.unique(np.stack([train.users, train.items]), axis=1)
    users = sparse.csr_array((np.ones(pairs.shape[1]), (pairs[0], pairs[1])), shape=(len(train), n_items))
    counts = sparse.csr_array(users.T @ users)
    norms = np.sqrt(counts.diagonal())
    rows = np.repeat(np.arange(n_items), np.diff(counts.indptr))
    values = counts.data / (norms[rows] * norms[counts.indices] + settings.shrinkage)
    values[rows == counts.indices] = 0  # an item is not its own neighbour
    # Rank of each entry within its row, most similar first.
    order = np.lexsort((counts.indices, -values, rows))
    rank = np.arange(len(rows)) - counts.indptr[rows[order]]
    kept = order[(rank < settings.neighbours) & (values[order] > 0)]
    return sparse.csr_array((values[kept], (rows[kept], counts.indices[kept])), shape=(n_items, n_items))


@dataclass(frozen=True)
class _Neighbours:
    similar: Any
    decay: float

    def score(self, histories: Histories, candidates: Ints | None) -> Floats32:
        sequences = histories.sequences
        weights = self.decay ** sequences.from_end.astype(np.float64)
        shape = (len(sequences), self.similar.shape[0])
        # The weights of a repeated item add up.
        history = sparse.csr_array((weights, (sequences.users, sequences.items)), shape=shape)
        return gather_candidates((history @ self.similar).toarray().astype(np.float32), candidates)


def _latest(sequences: Sequences) -> tuple[Ints, np.ndarray[Any, np.dtype[np.bool_]]]:
    """The latest item of each history (int64 [n], 0 if it is empty), and whether there is one (bool [n])."""
    known = sequences.lengths > 0
    if not len(sequences.items):
        return np.zeros(len(sequences), dtype=np.int64), known
    return np.where(known, sequences.items[sequences.offsets[1:] - 1], 0), known
