import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.training.windows import batches, windows_of
from tests.conftest import domain_of

SEQUENCES = st.lists(st.lists(st.integers(0, 19), max_size=40), max_size=5)


@given(SEQUENCES, st.integers(2, 9), st.integers(1, 9))
def test_every_event_but_the_first_is_a_target_once_after_its_own_past(sequences, length: int, stride: int) -> None:
    stride = min(stride, length)
    windows = windows_of(domain_of(sequences or [[]], 20).interactions, length, stride)
    found = []
    for user, row_in, row_out in zip(windows.users, windows.inputs, windows.targets, strict=True):
        for place in np.flatnonzero(row_out):
            found.append((int(user), tuple(row_in[: place + 1] - 1), int(row_out[place]) - 1))
    wanted = [(u, tuple(s[:end]), s[end]) for u, s in enumerate(sequences) for end in range(1, len(s))]
    assert len(found) == len(wanted)
    for (user, context, target), (whose, past, item) in zip(found, wanted, strict=True):
        assert (user, target) == (whose, item)
        assert past[-len(context) :] == context
        # All of the past up to `length` items; of a longer past, all but at most stride - 1 of them.
        assert len(context) >= min(len(past), length - stride + 1 if len(past) > length else length)


@given(SEQUENCES, st.integers(2, 9))
def test_a_stride_of_one_is_recboles_sliding_prefix(sequences, length: int) -> None:
    windows = windows_of(domain_of(sequences or [[]], 20).interactions, length, 1)
    contexts = [
        tuple(row_in[: place + 1] - 1)
        for row_in, row_out in zip(windows.inputs, windows.targets, strict=True)
        for place in np.flatnonzero(row_out)
    ]
    assert contexts == [tuple(s[:end][-length:]) for s in sequences for end in range(1, len(s))]


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1), st.integers(1, 200))
@example([(1, 1), (1, 1), (3, 1), (7, 1), (1, 2)], 2)
def test_batches_hold_every_row_once_and_are_of_like_length(rows, size: int) -> None:
    lengths, weights = (np.array(column) for column in zip(*rows, strict=True))
    found = list(batches(lengths, weights, size, np.random.default_rng(0)))
    assert sorted(np.concatenate(found)) == list(range(len(rows)))
    for batch in found:
        assert weights[batch].sum() <= size + weights[batch].max()
    # Of any two batches, one was filled first: none of its rows is 3 longer than a row of the other.
    for a, b in itertools.combinations(found, 2):
        one, other = lengths[a], lengths[b]
        assert one.max() < other.min() + 3 or other.max() < one.min() + 3


@pytest.mark.parametrize("stride", [0, -1, 6])
def test_a_stride_that_leaves_targets_out_is_refused(stride: int) -> None:
    with pytest.raises(ValueError, match="does not fit windows of 5"):
        windows_of(domain_of([list(range(9))], 20).interactions, 5, stride)
