"""The users and items on which methods tend to differ: cold users, cold items, head and tail items."""

import numpy as np
from numpy.typing import NDArray

from harness.data.domain import Ints
from harness.protocol.split import DomainTraining, HeldOut

#: Share of the catalogue, by training interactions, that counts as head.
HEAD_SHARE = 0.2

SLICES = ("all", "cold_users", "cold_items", "head_items", "tail_items")


def slices_of(test: HeldOut, training: DomainTraining) -> dict[str, NDArray[np.bool_]]:
    """Membership of each test user: bool [n_users] by slice name.

    - cold_users: history no longer than a cut, the one that makes them as near to a third of the users as it can;
      users of one length are treated alike, so it may be more or less, and all of them if all have one length.
    - cold_items: the held-out item has no training interaction (it may have validation events).
    - head_items: the held-out item is among the most popular fifth of the catalogue by training interactions,
      ties broken by item index; tail_items: it is not.
    """
    lengths = test.histories.sequences.lengths
    counts = np.bincount(training.train.items, minlength=len(training.catalogue))
    by_popularity = np.argsort(-counts, kind="stable")
    head = np.isin(test.targets, by_popularity[: int(HEAD_SHARE * len(counts))])
    return {
        "all": np.ones(len(test.targets), dtype=bool),
        "cold_users": lengths <= _cold_cut(lengths),
        "cold_items": counts[test.targets] == 0,
        "head_items": head,
        "tail_items": ~head,
    }


def _cold_cut(lengths: Ints) -> int:
    """The length up to which histories are nearest to a third of all; the shorter of two that are as near."""
    if not len(lengths):
        return 0
    cuts, counts = np.unique(lengths, return_counts=True)
    return int(cuts[np.abs(3 * np.cumsum(counts) - len(lengths)).argmin()])
