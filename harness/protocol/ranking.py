"""From scores to ranks, with ties counted fairly."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data.domain import Ints

#: `above` of a held-out item that was not among the candidates: past every cutoff, however few there were.
MISSED = int(np.iinfo(np.int32).max)


@dataclass(frozen=True)
class Ranks:
    """Where each user's held-out item stands among the candidates.

    Attributes:
        above: int64 [n_users], candidates with a strictly higher score.
        tied: int64 [n_users], other candidates with the same score.
        candidates: int64 [n_users], number of candidates, the held-out item included.

    The held-out item takes each of the ranks above + 1 ... above + tied + 1 with equal probability. If it was
    not retrieved at all, above = MISSED and tied = 0.
    """

    above: Ints
    tied: Ints
    candidates: Ints


class InvalidScoresError(ValueError):
    """A scorer gave NaN, or an array of the wrong shape."""


def rank_among(scores: NDArray[np.float32], columns: Ints, allowed: NDArray[np.bool_]) -> Ranks:
    """Ranks the item in one column of each row among the allowed columns.

    Args:
        scores: float [n_users, n_candidates].
        columns: int64 [n_users], the held-out item's column.
        allowed: bool [n_users, n_candidates], False for items that are no candidates; the held-out item
            always is one.

    Raises:
        InvalidScoresError: a NaN among the allowed scores.
    """
    rows = np.arange(len(scores))
    allowed = allowed.copy()
    allowed[rows, columns] = True
    if np.isnan(scores[allowed]).any():
        raise InvalidScoresError("scores hold NaN, which has no rank")
    own = scores[rows, columns][:, None]
    above = ((scores > own) & allowed).sum(axis=1)
    tied = ((scores == own) & allowed).sum(axis=1) - 1
    return Ranks(above, tied, allowed.sum(axis=1))
