"""Popularity: every user gets the target's most popular items, of all time or of late."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from annotated_types import Gt, Le

from harness.data.domain import Ints
from harness.methods.api import FitContext, Floats32, NoSettings, Scorer, gather_candidates
from harness.protocol.split import Histories, TrainingData
from harness.tuning.space import Space
from harness.tuning.tunable import with_settings


@dataclass(frozen=True)
class Popularity:
    """Scores an item by its number of training interactions in the target domain."""

    settings: NoSettings = field(default_factory=NoSettings)

    def fit(self, data: TrainingData, context: FitContext) -> Scorer:  # noqa: ARG002 - nothing to draw
        """Counts."""
        domain = data.target_domain
        counts = np.bincount(domain.train.items, minlength=len(domain.catalogue))
        return _SameForAll(counts.astype(np.float32))


@dataclass(frozen=True)
class RecentSettings:
    """What counts as recent.

    Attributes:
        share: of the training interactions, the latest so many count.
    """

    share: Annotated[float, Gt(0), Le(1)] = 0.2


@dataclass(frozen=True)
class RecentPopularity:
    """Scores an item by its number of late training interactions in the target domain.

    Late is by the clock where the domain has one. Where it has none, it is by place in each user's sequence, which
    is another thing: the last items of every user, however long ago. Interactions of one age count together, so of
    such a domain never less than every user's last. All-time counts, scaled below one, break ties.
    """

    settings: RecentSettings = field(default_factory=RecentSettings)
    space: Space = field(default_factory=lambda: Space.of_package("baselines", "recent-popularity"))

    def learns_from(self, target: str, sources: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG002
        """The target."""
        return (target,)

    def tuned(self, chosen: Mapping[str, Any]) -> "RecentPopularity":
        """The same method with settings from its space."""
        return RecentPopularity(with_settings(self.settings, chosen), self.space)

    def fit(self, data: TrainingData, context: FitContext) -> Scorer:  # noqa: ARG002 - nothing to draw
        """Counts."""
        share = self.settings.share
        domain = data.target_domain
        train = domain.train
        n_items = len(domain.catalogue)
        # Age: nanoseconds before the end, or interactions of the same user that came after.
        age = train.timestamps.max() - train.timestamps if domain.timed else train.from_end
        kept = max(1, round(share * len(age)))
        late = age <= np.partition(age, kept - 1)[kept - 1]
        counts = np.bincount(train.items[late], minlength=n_items).astype(np.float64)
        all_time = np.bincount(train.items, minlength=n_items)
        return _SameForAll((counts + all_time / (all_time.max() + 1)).astype(np.float32))


@dataclass(frozen=True)
class _SameForAll:
    scores: Floats32

    def score(self, histories: Histories, candidates: Ints | None) -> Floats32:
        return gather_candidates(np.tile(self.scores, (len(histories), 1)), candidates)
