"""From scores to ranks, with ties counted fairly."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.data.domain import Ints, Sequences
from harness.protocol.history_mask import seen_pairs

#: `above` of a held-out item that was not among the candidates: past every cutoff.
MISSED = int(np.iinfo(np.int32).max)
#: Scores counted at once, so that they stay in the processor's cache: 2 MB of float32.
_CACHED_SCORES = 2**19


@dataclass(frozen=True)
class Ranks:
    """Where each user's held-out item stands among the candidates.

    Attributes:
        above: int64 [n_users], candidates with a strictly higher score.
        tied: int64 [n_users], other candidates with the same score.
        candidates: int64 [n_users], number of candidates, the held-out item included.
        chance: float64 [n_users], probability that the held-out item is among the candidates at all: below 1 where it
            ties with others for the last places of an index. None: 1 for every user.
        unscored: bool [n_users], users for whom no candidate has a finite score. None: there is no such user.

    The held-out item takes each of the ranks above + 1 ... above + tied + 1 with equal probability. If it was
    not retrieved or not recommended at all, above = MISSED and tied = 0.
    """

    above: Ints
    tied: Ints
    candidates: Ints
    chance: NDArray[np.float64] | None = None
    unscored: NDArray[np.bool_] | None = None

    @classmethod
    def joined(cls, parts: Sequence["Ranks"]) -> "Ranks":
        """The ranks of several groups of users, one group after the other."""
        columns: dict[str, Any] = {}
        for name, default in (("above", 0), ("tied", 0), ("candidates", 0), ("chance", 1.0), ("unscored", False)):
            values = [getattr(part, name) for part in parts]
            if any(value is not None for value in values):
                columns[name] = np.concatenate(
                    [
                        np.full(len(part.above), default) if value is None else value
                        for part, value in zip(parts, values, strict=True)
                    ]
                )
        return cls(**columns)

    def select(self, rows: Ints) -> "Ranks":
        """The ranks of some of these users (int64 [n]), in that order."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        return Ranks(**{name: column[rows] for name, column in columns.items() if column is not None})


class InvalidScoresError(ValueError):
    """A scorer gave NaN, or an array of the wrong shape or type."""


def check_scores(scores: ArrayLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """Scores as an array of numbers, in the type they came in: whole numbers are never rounded to floats.

    Raises:
        InvalidScoresError: another shape, or no real numbers.
    """
    array = np.asarray(scores)
    if array.dtype.kind not in "biuf":
        raise InvalidScoresError(f"scores are of type {array.dtype}, not real numbers")
    if array.shape != shape:
        raise InvalidScoresError(f"scores have shape {list(array.shape)}, not {list(shape)}")
    return array


def rank_among(scores: NDArray[Any], columns: Ints, excluded: Sequences | None = None) -> Ranks:
    """Ranks the item in one column of each row among the row's candidates.

    Every column is counted, and the excluded ones are subtracted: that reads the scores three times, and makes no
    mask over all of them. A held-out item with the score -inf was not recommended and is a miss: it does not tie with
    other items of that score.

    Args:
        scores: real numbers [n_users, n_candidates]; compared as they are, so integers of any size are exact.
        columns: int64 [n_users], the held-out item's column.
        excluded: for each user, columns that are not candidates; the held-out item always is one. None: there are none.

    Raises:
        InvalidScoresError: a NaN among the candidates' scores.
    """
    n_users, n_candidates = scores.shape
    held_out = scores[np.arange(n_users), columns]
    above, tied = np.empty(n_users, dtype=np.int64), np.empty(n_users, dtype=np.int64)
    nans = np.empty(n_users, dtype=np.int64)
    size = max(1, _CACHED_SCORES // n_candidates)
    for rows in (slice(start, start + size) for start in range(0, n_users, size)):
        part, score = scores[rows], held_out[rows, None]
        above[rows] = np.count_nonzero(part > score, axis=1)
        tied[rows] = np.count_nonzero(part == score, axis=1)
        # The maximum is NaN if any score is.
        nans[rows] = np.isnan(part).sum(axis=1) if part.size and np.isnan(part.max()) else 0
    candidates = np.full(n_users, n_candidates)
    if excluded is not None:
        users, items = seen_pairs(excluded, columns, n_candidates)
        for counts, counted in (
            (above, scores[users, items] > held_out[users]),
            (tied, scores[users, items] == held_out[users]),
            (nans, np.isnan(scores[users, items])),
            (candidates, np.ones(len(users), dtype=bool)),
        ):
            counts -= np.bincount(users[counted], minlength=n_users)
    if nans.any():
        raise InvalidScoresError("scores hold NaN, which has no rank")
    missed = held_out == -np.inf
    unscored = missed & (above == 0)
    return Ranks(
        np.where(missed, MISSED, above),
        np.where(missed, 0, tied - 1),
        candidates,
        unscored=unscored if unscored.any() else None,
    )
