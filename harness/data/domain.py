"""Array-backed types of prepared data: `Catalogue`, `Sequences`, `Domain`."""

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
    """A read-only copy. It shares no memory, so that no held-out event can be reached through `base`."""
    copy = np.array(array, dtype=dtype, copy=True)
    copy.flags.writeable = False
    return copy


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
            raise ValueError("offsets must increase from 0 to the number of interactions")
        if len(self.items) != len(self.timestamps):
            raise ValueError("items and timestamps must have the same length")

    @classmethod
    def of(cls, items: Iterable[Sequence[int] | Ints]) -> Self:
        """Users' items, oldest first, without timestamps: positions 0, 1, 2, ... stand for them."""
        sequences = [np.asarray(sequence, dtype=np.int64) for sequence in items]
        return cls(
            np.cumsum([0, *map(len, sequences)]),
            np.concatenate([np.zeros(0, dtype=np.int64), *sequences]),
            np.concatenate([np.zeros(0, dtype=np.int64), *(np.arange(len(sequence)) for sequence in sequences)]),
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
        """Number of interactions of each user: int64 [n_users]."""
        return np.diff(self.offsets)

    @property
    def users(self) -> Ints:
        """The user of each interaction: int64 [n_interactions]."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def where(self, mask: NDArray[np.bool_]) -> Self:
        """The same users with only the interactions where a mask (bool [n_interactions]) holds."""
        lengths = np.bincount(self.users[mask], minlength=len(self))
        return type(self)(np.concatenate([[0], np.cumsum(lengths)]), self.items[mask], self.timestamps[mask])

    def without_last(self, n: int) -> Self:
        """The same users, each without the last n interactions."""
        return self.where(self.from_end >= n)

    @property
    def from_end(self) -> Ints:
        """Number of later interactions of the same user, for each interaction: int64 [n_interactions]."""
        return self.offsets[1:][self.users] - 1 - np.arange(len(self.items))

    def select(self, users: Ints) -> Self:
        """The sequences of some users (int64 [n]), in that order."""
        lengths = self.lengths[users]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        # Index of each selected interaction: its user's offset plus its position within the user.
        flat = np.repeat(self.offsets[users] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return type(self)(offsets, self.items[flat], self.timestamps[flat])


@dataclass(frozen=True)
class Catalogue:
    """A domain's items: original ids and texts, both in order of the dense item index."""

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
    """SHA-256 of a domain's content, updated piece by piece."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()

    def strings(self, strings: Iterable[str]) -> None:
        """Add a list of strings."""
        for string in strings:
            encoded = string.encode()
            # The length tells ("ab", "c") from ("a", "bc").
            self._sha.update(len(encoded).to_bytes(8, "little") + encoded)
        self._sha.update(b"\xff")

    def integers(self, array: NDArray[np.integer[Any]]) -> None:
        """Add an array, or the next part of one."""
        self._sha.update(np.ascontiguousarray(array, dtype="<i8").tobytes())

    def train_only(self, users: Iterable[int]) -> None:
        """Add the indices of users without held-out events; without such users, the digest stays the same."""
        if indices := list(users):
            self.strings(["train only"])
            self.integers(np.array(indices))

    def hexdigest(self, unit: str) -> str:
        """The digest of everything added.

        Args:
            unit: of the timestamps that were added, or `untimed`. Seconds do not change the digest, so that domains
                published before other units were supported keep their fingerprints.
        """
        sha = self._sha.copy()
        if unit != "s":
            sha.update(unit.encode())
        return sha.hexdigest()


@dataclass(frozen=True)
class Domain:
    """A prepared domain. Users and items are dense indices; their original ids are kept for results.

    Attributes:
        name: its name in suites and results.
        catalogue: its items.
        user_ids: original ids, in order of the dense user index.
        interactions: of each user, in time order.
        timed: whether timestamps are instants; if not, they are positions 0, 1, 2, ... within each user.
        train_only: dense indices of users without held-out events in a source that has its own split, ascending.
    """

    name: str
    catalogue: Catalogue
    user_ids: tuple[str, ...]
    interactions: Sequences
    timed: bool = True
    train_only: tuple[int, ...] = ()

    @property
    def tested(self) -> Ints:
        """Users whose events can be held out, with three or more events and not train-only: int64 [n], ascending."""
        return np.setdiff1d(np.flatnonzero(self.interactions.lengths >= 3), self.train_only)

    def without_last(self, n: int) -> Sequences:
        """The interactions of all users without the last n of each; train-only users keep all."""
        events = self.interactions
        return events.where((events.from_end >= n) | np.isin(events.users, self.train_only))

    def with_users(self, users: Ints) -> "Domain":
        """The domain with some of its users only (int64 [n], dense indices, ascending); its catalogue stays whole."""
        if len(users) == len(self.user_ids):
            return self
        train_only = np.flatnonzero(np.isin(users, self.train_only))
        return Domain(
            self.name,
            self.catalogue,
            tuple(self.user_ids[user] for user in users.tolist()),
            self.interactions.select(users),
            self.timed,
            tuple(train_only.tolist()),
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the content: ids, texts, and every interaction in order; not of the name.

        Timestamps are hashed in the coarsest of s, ms, us and ns in which all are whole, together with the unit if it
        is not s.
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
