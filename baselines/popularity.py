"""Popularity baselines: every user gets the target's most popular items, of all time or recently."""

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from annotated_types import Gt, Le

from harness.data.domain import Ints
from harness.methods.api import FitContext, Floats32, NoSettings, Scorer, gather_candidates
from harness.protocol.split import Histories, TrainingData
from harness.tuning.space import Space


@dataclass(frozen=True)
class Popularity:
    """Scores an item by its number of training interactions in the target domain."""

    settings: NoSettings = field(default_factory=NoSettings)

    def fit(self, data: TrainingData, context: FitContext) -> Scorer:  # noqa: ARG002 - nothing to draw
        """Count interactions."""
        domain = data.target_domain
        counts = np.bincount(domain.train.items, minlength=len(domain.catalogue))
        return _SameForAll(counts.astype(np.float32))


@dataclass(frozen=True)
class RecentSettings:
    """Settings of recent popularity.

    Attributes:
        share: share of the training interactions, the latest ones, that count as recent.
    """

    share: Annotated[float, Gt(0), Le(1)] = 0.2


@dataclass(frozen=True)
class RecentPopularity:
    """Scores an item by its number of recent training interactions in the target domain.

    Age is measured in time if the domain has timestamps. Otherwise it is the position from the end of each user's
    sequence, which is different: the last items of every user, however long ago. Interactions of equal age count
    together, so that in such a domain at least the last item of every user counts. All-time counts, scaled below one,
    break ties.
    """

    settings: RecentSettings = field(default_factory=RecentSettings)
    space: Space = field(default_factory=lambda: Space.of_package("baselines", "recent-popularity"))

    def learns_from(self, target: str, sources: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG002
        """The target only."""
        return (target,)

    def fit(self, data: TrainingData, context: FitContext) -> Scorer:  # noqa: ARG002 - nothing to draw
        """Count recent interactions."""
        share = self.settings.share
        domain = data.target_domain
        train = domain.train
        n_items = len(domain.catalogue)
        # Nanoseconds before the end, or number of later interactions of the same user.
        age = train.timestamps.max() - train.timestamps if domain.timed else train.from_end
        n_recent = max(1, round(share * len(age)))
        recent = age <= np.partition(age, n_recent - 1)[n_recent - 1]
        counts = np.bincount(train.items[recent], minlength=n_items).astype(np.float64)
        all_time = np.bincount(train.items, minlength=n_items)
        return _SameForAll((counts + all_time / (all_time.max() + 1)).astype(np.float32))


@dataclass(frozen=True)
class _SameForAll:
    scores: Floats32

    def score(self, histories: Histories, candidates: Ints | None) -> Floats32:
        return gather_candidates(np.tile(self.scores, (len(histories), 1)), candidates)
