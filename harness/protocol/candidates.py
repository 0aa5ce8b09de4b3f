"""Which items the held-out item is ranked among: full, sampled-N, retrieved-N."""

import hashlib
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data.domain import Ints, Sequences
from harness.errors import HarnessError


@dataclass(frozen=True)
class CandidateSet:
    """A rule for candidates, written `full`, `sampled-30` or `retrieved-100`.

    Attributes:
        kind: full, sampled or retrieved.
        size: number of candidates with the held-out item (sampled), or asked of the index (retrieved); 0 for full.
    """

    kind: str
    size: int = 0

    @classmethod
    def parse(cls, name: str) -> "CandidateSet":
        """Reads the written form.

        Raises:
            HarnessError: it is none of the three forms, or its size is below 2.
        """
        match = re.fullmatch(r"full|(sampled|retrieved)-(\d+)", name)
        if match is None or (match[1] and int(match[2]) < 2):
            raise HarnessError(
                f"Unknown candidates {name!r}.", "Write full, sampled-N or retrieved-N, with N of 2 or more."
            )
        return cls(match[1], int(match[2])) if match[1] else cls("full")

    def __str__(self) -> str:
        return f"{self.kind}-{self.size}" if self.size else self.kind


def seen_mask(histories: Sequences, n_items: int) -> NDArray[np.bool_]:
    """True where an item is in the user's history: bool [n_users, n_items]."""
    mask = np.zeros((len(histories), n_items), dtype=bool)
    mask[histories.users, histories.items] = True
    return mask


def sample_candidates(histories: Sequences, targets: Ints, n_items: int, size: int, seed: int) -> Ints:
    """The held-out item and size - 1 uniform negatives outside the history, for each user.

    Each (seed, user, item) gets a 64-bit hash, and a user's negatives are the allowed items with the smallest
    ones: a uniform draw without replacement that is the same on any machine, under any version of any library.
    Rows are sorted by item, so that a candidate's place says nothing about which one was held out.

    Args:
        histories: the users' items before the held-out event.
        targets: int64 [n_users], the held-out items.
        n_items: size of the catalogue.
        size: candidates a user, the held-out item included.
        seed: the draw's seed.

    Returns:
        int64 [n_users, size], distinct items in rising order.

    Raises:
        HarnessError: some user has too few items outside the history.
    """
    drawn = np.empty((len(targets), size), dtype=np.int64)
    block = max(1, 2**24 // n_items)
    for start in range(0, len(targets), block):
        rows = np.arange(start, min(start + block, len(targets)))
        keys = _hash(seed, rows, n_items)
        barred = seen_mask(histories.select(rows), n_items)
        barred[np.arange(len(rows)), targets[rows]] = True
        if (n_items - barred.sum(axis=1) < size - 1).any():
            raise HarnessError(
                f"sampled-{size}: some user has fewer than {size - 1} items outside the history "
                f"in a catalogue of {n_items}.",
                "Ask for fewer candidates in the suite file.",
            )
        # A barred item may share the largest key with an allowed one, so it is ordered by the bar first.
        order = np.lexsort((keys, barred), axis=1)
        drawn[rows, : size - 1] = order[:, : size - 1]
    drawn[:, size - 1] = targets
    drawn.sort(axis=1)
    return drawn


def candidates_digest(candidates: Ints) -> str:
    """SHA-256 (hex) of a candidate table, as results carry it."""
    return hashlib.sha256(np.ascontiguousarray(candidates, dtype="<i8").tobytes()).hexdigest()


def _hash(seed: int, users: Ints, n_items: int) -> NDArray[np.uint64]:
    """SplitMix64 (Steele et al., OOPSLA 2014) of seed, user and item: uint64 [n_users, n_items]."""
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is the point
        user_state = _mix(
            _mix(np.array([seed], dtype=np.uint64) + _GOLDEN) ^ (users.astype(np.uint64) + np.uint64(1)) * _GOLDEN
        )
        items = (np.arange(n_items, dtype=np.uint64) + np.uint64(1)) * _GOLDEN
        return _mix(user_state[:, None] + items[None, :])


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
