"""Cut training sequences into windows, so that a causal model trains all prefixes of a window in one pass."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harness.data.domain import Ints, Sequences


@dataclass(frozen=True)
class Windows:
    """Windows of training sequences, left-aligned; item i is i + 1, padding is 0.

    Attributes:
        inputs: int64 [n, max_length], input items.
        targets: int64 [n, max_length], the next item of each input; 0 if it is not a target of this window.
        users: int64 [n], the user of each window.
    """

    inputs: Ints
    targets: Ints
    users: Ints


def windows_of(sequences: Sequences, max_length: int, stride: int) -> Windows:
    """Cut sequences into windows such that every event except a user's first is a target exactly once.

    A sequence of up to max_length + 1 items is one window, and each state depends on the same items as RecBole's
    prefix. For a longer sequence, each further window starts `stride` items later, and its last `stride` positions are
    the targets, so that a state depends on at least max_length - stride + 1 items. A stride of 1 equals RecBole's
    sliding prefixes: the latest max_length items for every target, at the cost of one pass a target.

    Args:
        sequences: n_users sequences.
        max_length: maximum number of items that a state depends on.
        stride: 1 to max_length.

    Raises:
        ValueError: another stride, which would leave out targets.
    """
    if not 1 <= stride <= max_length:
        raise ValueError(f"a stride of {stride} does not fit windows of {max_length}: give 1 to {max_length}")
    lengths = np.maximum(sequences.lengths - 1, 0)  # of inputs: the last item is a target only
    counts = np.where(lengths > 0, 1 + -(-np.maximum(lengths - max_length, 0) // stride), 0)
    users = np.repeat(np.arange(len(sequences)), counts)
    nth = np.arange(len(users)) - np.repeat(np.cumsum(counts) - counts, counts)
    start = nth * stride
    positions = start[:, None] + np.arange(max_length)
    inside = positions < lengths[users, None]
    flat = np.where(inside, sequences.offsets[users, None] + positions, 0)
    # In further windows, the first max_length - stride positions were targets before.
    is_target = inside & ((nth[:, None] == 0) | (np.arange(max_length) >= max_length - stride))
    items = np.append(sequences.items, 0)  # so that an empty corpus can be indexed
    inputs = np.where(inside, items[flat] + 1, 0)
    targets = np.where(is_target, items[flat + is_target] + 1, 0)
    return Windows(inputs, targets, users)


def batches(lengths: Ints, weights: Ints, size: int, rng: np.random.Generator) -> Iterator[Ints]:
    """Batch rows of similar length, in random order, so that little padding is computed.

    Args:
        lengths: int64 [n], length of each row.
        weights: int64 [n], weight of each row.
        size: total weight of a full batch.
        rng: shuffles rows of equal and nearly equal length, and the batches.
    """
    order = np.argsort(lengths + rng.uniform(0, 3, len(lengths)), kind="stable")
    filled = (np.cumsum(weights[order]) - 1) // size
    edges = np.flatnonzero(np.diff(filled)) + 1
    parts = np.split(order, edges)
    for index in rng.permutation(len(parts)):
        yield parts[index]
