"""The array-backed types every later step reads: catalogue, sequences, domain."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from harness.data.times import NANOSECONDS, coarsest_unit

Ints = NDArray[np.int64]


def _frozen(array: NDArray[np.generic], dtype: type[np.generic] = np.int64) -> NDArray[np.generic]:
    """A read-only copy that shares no memory, so that no view leads back to more than it shows."""
    own = np.array(array, dtype=dtype, copy=True)
    own.flags.writeable = False
    return own


@dataclass(frozen=True)
class Sequences:
    """Users' interactions in time order, as one flat array and the users' offsets into it.

    Attributes:
        offsets: int64 [n_users + 1]; user u owns items[offsets[u]:offsets[u + 1]].
        items: int64 [n_interactions], dense item indices, oldest first within a user.
        timestamps: int64 [n_interactions], Unix nanoseconds; without instants, see `Domain.timed`.
    """

    offsets: Ints
    items: Ints
    timestamps: Ints

    def __post_init__(self) -> None:
        for name in ("offsets", "items", "timestamps"):
            object.__setattr__(self, name, _frozen(getattr(self, name)))
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.items) or (np.diff(self.offsets) < 0).any():
            raise ValueError("offsets must rise from 0 to the number of interactions")
        if len(self.items) != len(self.timestamps):
            raise ValueError("items and timestamps must have one length")

    @classmethod
    def of(cls, items: Iterable[Sequence[int] | Ints]) -> Self:
        """Some users' items, oldest first, without instants: timestamps are places 0, 1, 2, ..."""
        each = [np.asarray(own, dtype=np.int64) for own in items]
        return cls(
            np.cumsum([0, *map(len, each)]),
            np.concatenate([np.zeros(0, dtype=np.int64), *each]),
            np.concatenate([np.zeros(0, dtype=np.int64), *(np.arange(len(own)) for own in each)]),
        )

    def __len__(self) -> int:
        """Number of users."""
        return len(self.offsets) - 1

    def __getitem__(self, user: int) -> Ints:
        """The items of one user, oldest first: int64 [length], read-only."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def __iter__(self) -> Iterator[Ints]:
        return (self[user] for user in range(len(self)))

    @property
    def lengths(self) -> Ints:
        """Interactions a user: int64 [n_users]."""
        return np.diff(self.offsets)

    @property
    def users(self) -> Ints:
        """The user of each interaction: int64 [n_interactions]."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def where(self, kept: NDArray[np.bool_]) -> Self:
        """The same users with only the interactions where `kept` (bool [n_interactions]) holds."""
        lengths = np.bincount(self.users[kept], minlength=len(self))
        return type(self)(np.concatenate([[0], np.cumsum(lengths)]), self.items[kept], self.timestamps[kept])

    def without_last(self, n: int) -> Self:
        """The same users, each without the last n interactions."""
        return self.where(self.from_end >= n)

    @property
    def from_end(self) -> Ints:
        """How many interactions of the same user come after each: int64 [n_interactions]."""
        return self.offsets[1:][self.users] - 1 - np.arange(len(self.items))

    def select(self, users: Ints) -> Self:
        """The sequences of some users (int64 [n]), in that order."""
        lengths = self.lengths[users]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        # Position of each kept interaction: its user's start, plus its place within the user.
        flat = np.repeat(self.offsets[users] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return type(self)(offsets, self.items[flat], self.timestamps[flat])


@dataclass(frozen=True)
class Catalogue:
    """A domain's items: original ids and texts, both in the order of the dense item index."""

    item_ids: tuple[str, ...]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        """Number of items."""
        return len(self.item_ids)

    @property
    def has_text(self) -> bool:
        """Whether any item has a text."""
        return any(self.texts)


class Fingerprint:
    """SHA-256 over a domain's content, taken piece by piece."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()

    def strings(self, strings: Iterable[str]) -> None:
        """Takes a list of strings."""
        for string in strings:
            raw = string.encode()
            # The length in front keeps ("ab", "c") and ("a", "bc") apart.
            self._sha.update(len(raw).to_bytes(8, "little") + raw)
        self._sha.update(b"\xff")

    def integers(self, array: NDArray[np.integer[Any]]) -> None:
        """Takes an array, or the next part of one."""
        self._sha.update(np.ascontiguousarray(array, dtype="<i8").tobytes())

    def train_only(self, users: Iterable[int]) -> None:
        """Takes the users of whom nothing is held out, if there are any."""
        if marked := list(users):
            self.strings(["train only"])
            self.integers(np.array(marked))

    def hexdigest(self, unit: str) -> str:
        """The fingerprint of all that was taken; `unit` is of the timestamps that were, `untimed` where they are none.

        Whole seconds add nothing, so that a domain of such has the fingerprint it had before there were other units.
        """
        sha = self._sha.copy()
        if unit != "s":
            sha.update(unit.encode())
        return sha.hexdigest()


@dataclass(frozen=True)
class Domain:
    """One domain, prepared: dense indices inside, original ids at the border only.

    Attributes:
        name: its name in suites and results.
        catalogue: its items.
        user_ids: original ids, in the order of the dense user index.
        interactions: each user's, in time order.
        timed: whether timestamps are instants; if not, they are each user's places 0, 1, 2, ...
        train_only: dense indices of users of whom nothing is held out, as the source holds nothing out; rising.
    """

    name: str
    catalogue: Catalogue
    user_ids: tuple[str, ...]
    interactions: Sequences
    timed: bool = True
    train_only: tuple[int, ...] = ()

    @property
    def tested(self) -> Ints:
        """Users of whom events can be held out: three or more events, and not train only; int64 [n], rising."""
        return np.setdiff1d(np.flatnonzero(self.interactions.lengths >= 3), self.train_only)

    def without_last(self, n: int) -> Sequences:
        """The interactions of all users without the last n of each, but with all of who is train only."""
        events = self.interactions
        return events.where((events.from_end >= n) | np.isin(events.users, self.train_only))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over the content: ids, texts, and every interaction in order; not over the name.

        Timestamps count in the coarsest of s, ms, us and ns in which all are whole, which is named if it is not s.
        """
        sha = Fingerprint()
        for strings in (self.user_ids, self.catalogue.item_ids, self.catalogue.texts):
            sha.strings(strings)
        unit = coarsest_unit(self.interactions.timestamps) if self.timed else "untimed"
        times = self.interactions.timestamps // NANOSECONDS.get(unit, 1)
        for array in (self.interactions.offsets, self.interactions.items, times):
            sha.integers(array)
        sha.train_only(self.train_only)
        return sha.hexdigest(unit)
