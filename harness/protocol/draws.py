"""Some users instead of all: test users of a costly suite, or a few users for a trial run."""

import hashlib
from collections.abc import Sequence

import numpy as np

from harness.data.domain import Domain, Ints
from harness.protocol.split import HeldOut


def draw_users(user_ids: Sequence[str], n: int, seed: int) -> Ints:
    """Draw users uniformly, the same on any machine and whatever their order: those whose ids have the lowest hashes.

    A larger draw contains every smaller one.

    Args:
        user_ids: distinct ids.
        n: how many; all if there are no more.
        seed: of the draw.

    Returns:
        int64 [min(n, n_users)], their places in `user_ids`, ascending.
    """
    hashes = [hashlib.sha256(f"{seed}:{user}".encode()).digest() for user in user_ids]
    return np.sort(np.array(sorted(range(len(hashes)), key=hashes.__getitem__)[:n], dtype=np.int64))


def draw_test_users(test: HeldOut, user_ids: Sequence[str], n: int, seed: int) -> HeldOut:
    """The test events of some users only.

    Args:
        test: all test events.
        user_ids: of the domain, in the order of the dense user index.
        n: how many users to keep; all if there are no more.
        seed: of the draw.
    """
    rows = draw_users([user_ids[user] for user in test.histories.users.tolist()], n, seed)
    return HeldOut(test.histories.select(rows), test.targets[rows], test.times[rows])


def limit_users(domain: Domain, n: int, seed: int) -> Domain:
    """A domain with some of its users only. Its catalogue stays whole, and the k-core is not applied again.

    Args:
        domain: the whole domain.
        n: how many users to keep; all if there are no more.
        seed: of the draw.
    """
    return domain.with_users(draw_users(domain.user_ids, n, seed))
