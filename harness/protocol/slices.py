"""Slices of the test users on which methods tend to differ: cold users, cold items, head and tail items.

A slice is a named function of the test events and the target's training data that says which test users it holds.
Other packages add slices by the entry point group `cdsr_harness.slices`. Slices are stored with a result's ranks, so a
result has those that were installed when it was made.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from harness.data.domain import Ints
from harness.errors import HarnessError
from harness.extensions import SLICES as GROUP
from harness.extensions import extensions, load_extension
from harness.protocol.split import DomainTraining, HeldOut
from harness.storage.code_identity import code_digest
from harness.storage.files import digest

#: Which test users a slice holds: bool [n_users].
Slice = Callable[[HeldOut, DomainTraining], NDArray[np.bool_]]

#: Share of the catalogue, by training interactions, that counts as head.
HEAD_SHARE = 0.2


def all_users(test: HeldOut, training: DomainTraining) -> NDArray[np.bool_]:  # noqa: ARG001 - slices share a signature
    """Every test user."""
    return np.ones(len(test.targets), dtype=bool)


def cold_users(test: HeldOut, training: DomainTraining) -> NDArray[np.bool_]:  # noqa: ARG001
    """Users with the shortest histories: the cut of history length that makes them as near to a third as possible.

    Users of one length are treated alike, so the share may be smaller or larger, up to all users.
    """
    lengths = test.histories.sequences.lengths
    cold: NDArray[np.bool_] = lengths <= _cold_cut(lengths)
    return cold


def cold_items(test: HeldOut, training: DomainTraining) -> NDArray[np.bool_]:
    """Users whose held-out item has no training interaction; it may have validation events."""
    cold: NDArray[np.bool_] = _training_counts(training)[test.targets] == 0
    return cold


def head_items(test: HeldOut, training: DomainTraining) -> NDArray[np.bool_]:
    """Users whose held-out item is among the most popular fifth of the catalogue; ties are broken by item index."""
    counts = _training_counts(training)
    by_popularity = np.argsort(-counts, kind="stable")
    return np.isin(test.targets, by_popularity[: int(HEAD_SHARE * len(counts))])


def tail_items(test: HeldOut, training: DomainTraining) -> NDArray[np.bool_]:
    """Users whose held-out item is not in the head."""
    return ~head_items(test, training)


SLICES: Mapping[str, Slice] = {
    "all": all_users,
    "cold_users": cold_users,
    "cold_items": cold_items,
    "head_items": head_items,
    "tail_items": tail_items,
}


def slices_of(test: HeldOut, training: DomainTraining) -> dict[str, NDArray[np.bool_]]:
    """Members of every slice, built-in and installed: bool [n_users] by name.

    Raises:
        HarnessError: a slice of another package has the name of a built-in one, or gives another type or shape.
    """
    members = {name: members_of(test, training) for name, members_of in SLICES.items()}
    for name, entry in extensions(GROUP).items():
        if name in members:
            raise HarnessError(f"Slice {name!r} ({entry.value}) has the name of a built-in slice.", "Rename it.")
        users = np.asarray(load_extension(entry)(test, training))
        if users.dtype != bool or users.shape != test.targets.shape:
            raise HarnessError(
                f"Slice {name!r} ({entry.value}) gives {users.dtype} {list(users.shape)} for "
                f"{len(test.targets)} test users.",
                "Return a bool for each test user.",
            )
        members[name] = users
    return members


def installed_slices_code() -> str:
    """SHA-256 (hex) of the code of other packages' slices: a run that was made without one is made again."""
    return digest([[name, code_digest(load_extension(entry))] for name, entry in extensions(GROUP).items()])


def _training_counts(training: DomainTraining) -> Ints:
    """Training interactions of each item: int64 [n_items]."""
    return np.bincount(training.train.items, minlength=len(training.catalogue))


def _cold_cut(lengths: Ints) -> int:
    """The length up to which histories are nearest to a third of all; the shorter of two that are equally near."""
    if not len(lengths):
        return 0
    cuts, counts = np.unique(lengths, return_counts=True)
    return int(cuts[np.abs(3 * np.cumsum(counts) - len(lengths)).argmin()])
