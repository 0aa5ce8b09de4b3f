"""A scorer whose scores are given: those of a file, and not those of a model."""

from typing import Any

import numpy as np

from harness.data.domain import Ints
from harness.protocol.metrics import Floats
from harness.protocol.split import Histories


class IncompleteScoresError(Exception):
    """A user has scores for some of the candidates only."""


class GivenScores:
    """Scores of some items for some users; any other item has the score -inf: it is not recommended.

    Args:
        users: int64 [n_rows], dense user indices of the domain.
        items: int64 [n_rows], dense item indices; no item twice for one user.
        scores: float64 [n_rows].
        n_users: users of the domain.
        n_items: items of the catalogue.
        is_complete: whether a user with any score must have one for every candidate that is asked for.
    """

    def __init__(
        self, users: Ints, items: Ints, scores: Floats, n_users: int, n_items: int, is_complete: bool = False
    ) -> None:
        order = np.argsort(users, kind="stable")
        self._offsets = np.concatenate([[0], np.cumsum(np.bincount(users, minlength=n_users))])
        self._items, self._scores = items[order], scores[order]
        self._n_items = n_items
        self._is_complete = is_complete

    def score(self, histories: Histories, candidates: Ints | None) -> Any:
        """See `harness.methods.api.Scorer.score`; float64, as the file has them.

        Raises:
            IncompleteScoresError: a candidate without a score, if the scores must be complete.
        """
        starts, lengths = self._offsets[histories.users], np.diff(self._offsets)[histories.users]
        ends = np.cumsum(lengths)
        rows = np.repeat(np.arange(len(lengths)), lengths)
        entries = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)
        scores = np.full((len(lengths), self._n_items), -np.inf)
        scores[rows, self._items[entries]] = self._scores[entries]
        if self._is_complete:
            given = np.zeros(scores.shape, dtype=bool)
            given[rows, self._items[entries]] = True
            asked = given if candidates is None else np.take_along_axis(given, candidates, axis=1)
            if (~asked[lengths > 0]).any():
                raise IncompleteScoresError
        return scores if candidates is None else np.take_along_axis(scores, candidates, axis=1)


class CandidateRecorder:
    """A scorer that notes the candidates that it is asked for, and gives all of them one score."""

    def __init__(self) -> None:
        self._blocks: list[Ints] = []

    def score(self, histories: Histories, candidates: Ints | None) -> Any:
        """Zeros. Raises TypeError if it is asked for the whole catalogue, which needs no noting."""
        if candidates is None:
            raise TypeError("the whole catalogue is no drawn candidate set")
        del histories
        self._blocks.append(candidates)
        return np.zeros(candidates.shape, dtype=np.float32)

    @property
    def candidates(self) -> Ints:
        """All candidates so far: int64 [n_users, n_candidates]."""
        return np.concatenate(self._blocks)
