"""Sampled candidates: the held-out item and uniform negatives outside the history."""

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

from harness.data.domain import Ints, Sequences
from harness.errors import HarnessError


def sample_candidates(histories: Sequences, targets: Ints, n_items: int, size: int, seed: int) -> Ints:
    """The held-out item and size - 1 uniform negatives outside the history, for each user.

    A user's draws 0, 1, 2, ... are items hashed from (seed, user, draw); the first size - 1 that are new, not held
    out and not in the history are the negatives: a uniform draw without replacement that is the same on any machine
    and under any version of any library, and whose cost does not grow with the catalogue.
    Rows are sorted by item, so that a candidate's position says nothing about which one was held out.

    Args:
        histories: the users' items before the held-out event.
        targets: int64 [n_users], the held-out items.
        n_items: size of the catalogue.
        size: candidates per user, the held-out item included.
        seed: the draw's seed.

    Returns:
        int64 [n_users, size], distinct items in rising order.

    Raises:
        HarnessError: some user has too few items outside the history.
    """
    # A key for each (user, item) that may not be drawn.
    users = np.concatenate([histories.users, np.arange(len(targets))])
    excluded = np.unique(users * n_items + np.concatenate([histories.items, targets]))
    free = n_items - np.bincount(excluded // n_items, minlength=len(targets))
    short = int((free < size - 1).sum())
    if short:
        raise HarnessError(
            f"sampled-{size}: {short:,} of {len(targets):,} users have fewer than {size - 1} items outside the history "
            f"in a catalogue of {n_items:,}, the least {free.min():,}.",
            "Ask for fewer candidates in the suite file.",
        )
    drawn = np.empty((len(targets), size), dtype=np.int64)
    drawn[:, size - 1] = targets
    lacking, draws = np.arange(len(targets)), 2 * size
    while len(lacking):
        incomplete = []
        for rows in np.array_split(lacking, math.ceil(len(lacking) * draws / 2**22)):
            negatives, complete = _first_new(_draws(seed, rows, draws, n_items), rows, excluded, n_items, size - 1)
            drawn[rows[complete], : size - 1] = negatives[complete]
            incomplete.append(rows[~complete])
        # More draws begin with the same ones, so the other users draw again.
        lacking, draws = np.concatenate(incomplete), 2 * draws
    drawn.sort(axis=1)
    return drawn


def draw_some(items: Ints, user: int, n: int) -> Ints:
    """n of some distinct items, uniform and without replacement: those with the lowest hash of (user, item).

    The draw is the same on any machine and does not depend on the order of the items.
    """
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is intended
        state = _mix(np.array([user + 1], dtype=np.uint64) * _GOLDEN)
        keys = _mix(state ^ _mix((items.astype(np.uint64) + np.uint64(1)) * _GOLDEN))
    drawn: Ints = items[np.argsort(keys, kind="stable")[:n]]
    return drawn


def _first_new(items: Ints, users: Ints, excluded: Ints, n_items: int, n: int) -> tuple[Ints, NDArray[np.bool_]]:
    """The first n draws of each row that are neither excluded nor repeated.

    Args:
        items: int64 [n_users, n_draws].
        users: int64 [n_users], the row's user.
        excluded: int64, sorted keys user * n_items + item.
        n_items: size of the catalogue.
        n: items per row.

    Returns:
        int64 [n_users, n], and which rows have that many: bool [n_users]; the items of other rows are meaningless.
    """
    keys = users[:, None] * n_items + items
    index = np.minimum(np.searchsorted(excluded, keys), len(excluded) - 1)
    new = excluded[index] != keys
    order = np.argsort(items, axis=1, kind="stable")
    ordered = np.take_along_axis(items, order, axis=1)
    repeated = np.zeros(items.shape, dtype=bool)
    np.put_along_axis(repeated, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    new &= ~repeated
    # New items first, in the order they were drawn.
    first = np.argsort(~new, axis=1, kind="stable")[:, :n]
    return np.take_along_axis(items, first, axis=1), new.sum(axis=1) >= n


def candidates_digest(candidates: Ints) -> str:
    """SHA-256 (hex) of a candidate table, as results carry it."""
    return hashlib.sha256(np.ascontiguousarray(candidates, dtype="<i8").tobytes()).hexdigest()


def _draws(seed: int, users: Ints, n_draws: int, n_items: int) -> Ints:
    """SplitMix64 (Steele et al., OOPSLA 2014) of seed, user and draw, modulo the catalogue: int64 [n_users, n_draws].

    The modulus favours some items by less than n_items / 2^64.
    """
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is intended
        user_state = _mix(
            _mix(np.array([seed], dtype=np.uint64) + _GOLDEN) ^ (users.astype(np.uint64) + np.uint64(1)) * _GOLDEN
        )
        steps = (np.arange(n_draws, dtype=np.uint64) + np.uint64(1)) * _GOLDEN
        return (_mix(user_state[:, None] + steps[None, :]) % np.uint64(n_items)).astype(np.int64)


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
