"""Popularity: every user gets the target's most popular items."""

from dataclasses import dataclass, field

import numpy as np

from harness.data.domain import Ints
from harness.method import FitContext, Floats32, NoSettings, Scorer, pick
from harness.protocol.split import Histories, TrainingData


@dataclass(frozen=True)
class Popularity:
    """Scores an item by its number of training interactions in the target domain."""

    settings: NoSettings = field(default_factory=NoSettings)

    def fit(self, data: TrainingData, context: FitContext) -> Scorer:  # noqa: ARG002 - nothing to tune or draw
        """Counts."""
        domain = data.target_domain
        counts = np.bincount(domain.train.items, minlength=len(domain.catalogue))
        return _Counts(counts.astype(np.float32))


@dataclass(frozen=True)
class _Counts:
    counts: Floats32

    def score(self, histories: Histories, candidates: Ints | None) -> Floats32:
        return pick(np.tile(self.counts, (len(histories), 1)), candidates)
