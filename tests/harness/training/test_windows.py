import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.training.windows import batches, windows_of
from tests.conftest import domain_of

SEQUENCES = st.lists(st.lists(st.integers(0, 19), max_size=40), max_size=5)


@given(SEQUENCES, st.integers(2, 9), st.integers(1, 9))
def test_each_event_but_the_first_is_a_target_once(sequences, length: int, stride: int) -> None:
    stride = min(stride, length)
    windows = windows_of(domain_of(sequences or [[]], 20).interactions, length, stride)
    prefixes = []
    for user, row_in, row_out in zip(windows.users, windows.inputs, windows.targets, strict=True):
        for position in np.flatnonzero(row_out):
            prefixes.append((int(user), tuple(row_in[: position + 1] - 1), int(row_out[position]) - 1))
    expected = [(u, tuple(s[:end]), s[end]) for u, s in enumerate(sequences) for end in range(1, len(s))]
    assert len(prefixes) == len(expected)
    for (user, context, target), (expected_user, past, item) in zip(prefixes, expected, strict=True):
        assert (user, target) == (expected_user, item)
        assert past[-len(context) :] == context
        # All of a past of up to `length` items; of a longer past, the latest length - stride + 1 items or more.
        assert len(context) >= min(len(past), length - stride + 1 if len(past) > length else length)


@given(SEQUENCES, st.integers(2, 9))
def test_a_stride_of_one_equals_recboles_sliding_prefixes(sequences, length: int) -> None:
    windows = windows_of(domain_of(sequences or [[]], 20).interactions, length, 1)
    contexts = [
        tuple(row_in[: position + 1] - 1)
        for row_in, row_out in zip(windows.inputs, windows.targets, strict=True)
        for position in np.flatnonzero(row_out)
    ]
    assert contexts == [tuple(s[:end][-length:]) for s in sequences for end in range(1, len(s))]


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1), st.integers(1, 200))
@example([(1, 1), (1, 1), (3, 1), (7, 1), (1, 2)], 2)
def test_batches_contain_each_row_once_and_have_similar_lengths(rows, size: int) -> None:
    lengths, weights = (np.array(column) for column in zip(*rows, strict=True))
    rows_of_batches = list(batches(lengths, weights, size, np.random.default_rng(0)))
    assert sorted(np.concatenate(rows_of_batches)) == list(range(len(rows)))
    for batch in rows_of_batches:
        assert weights[batch].sum() <= size + weights[batch].max()
    # Of any two batches, no row of one is longer than a row of the other by 3 or more.
    for a, b in itertools.combinations(rows_of_batches, 2):
        first, second = lengths[a], lengths[b]
        assert first.max() < second.min() + 3 or second.max() < first.min() + 3


@pytest.mark.parametrize("stride", [0, -1, 6])
def test_invalid_strides_raise(stride: int) -> None:
    with pytest.raises(ValueError, match="does not fit windows of 5"):
        windows_of(domain_of([list(range(9))], 20).interactions, 5, stride)
