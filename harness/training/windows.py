"""Training sequences as windows: what a causal model reads in one pass to train every prefix."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harness.data.domain import Ints, Sequences


@dataclass(frozen=True)
class Windows:
    """Stretches of training sequences, left-aligned, item i written as i + 1 and padding as 0.

    Attributes:
        inputs: int64 [n, max_length], the items read.
        targets: int64 [n, max_length], the item after each; 0 where it is no target of this window.
        users: int64 [n], whose sequence it is.
    """

    inputs: Ints
    targets: Ints
    users: Ints


def windows_of(sequences: Sequences, max_length: int, stride: int) -> Windows:
    """Cuts sequences into windows such that every event but a user's first is a target exactly once.

    A sequence of up to max_length + 1 items is one window, and each state has seen all that RecBole's prefix holds.
    Of a longer one, each further window starts `stride` items later, and its last `stride` places are the targets:
    so a state has seen at least max_length - stride + 1 items. A stride of 1 is RecBole's way, which slides the
    prefix item by item: the latest max_length items for every target, at the price of a pass a target.

    Args:
        sequences: n_users sequences.
        max_length: the most items that a state may depend on.
        stride: 1 to max_length.

    Raises:
        ValueError: another stride, which would leave targets out.
    """
    if not 1 <= stride <= max_length:
        raise ValueError(f"a stride of {stride} does not fit windows of {max_length}: give 1 to {max_length}")
    lengths = np.maximum(sequences.lengths - 1, 0)  # of inputs; a sequence's last item is only a target
    counts = np.where(lengths > 0, 1 + -(-np.maximum(lengths - max_length, 0) // stride), 0)
    users = np.repeat(np.arange(len(sequences)), counts)
    nth = np.arange(len(users)) - np.repeat(np.cumsum(counts) - counts, counts)
    start = nth * stride
    places = start[:, None] + np.arange(max_length)
    inside = places < lengths[users, None]
    flat = np.where(inside, sequences.offsets[users, None] + places, 0)
    # Of a further window, the first max_length - stride places were targets before.
    fresh = inside & ((nth[:, None] == 0) | (np.arange(max_length) >= max_length - stride))
    items = np.append(sequences.items, 0)  # so that an empty corpus can be indexed
    return Windows(np.where(inside, items[flat] + 1, 0), np.where(fresh, items[flat + fresh] + 1, 0), users)


def batches(lengths: Ints, weights: Ints, size: int, rng: np.random.Generator) -> Iterator[Ints]:
    """Rows in batches of like length, in random order: little padding is computed.

    Args:
        lengths: int64 [n], what to sort by.
        weights: int64 [n], what a row counts for.
        size: a batch is full when its rows count for so much.
        rng: for the order, which differs between epochs within lengths and a little across them.
    """
    order = np.argsort(lengths + rng.uniform(0, 3, len(lengths)), kind="stable")
    filled = (np.cumsum(weights[order]) - 1) // size
    edges = np.flatnonzero(np.diff(filled)) + 1
    parts = np.split(order, edges)
    for index in rng.permutation(len(parts)):
        yield parts[index]
