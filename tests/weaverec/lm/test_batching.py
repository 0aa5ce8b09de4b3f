import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from weaverec.lm.batching import MOST_PADDING, padded, padding_share, token_batches


@given(st.lists(st.integers(1, 300), min_size=1, max_size=200), st.integers(1, 2000))
def test_every_row_once_little_padding_and_no_batch_too_large(lengths: list[int], most: int) -> None:
    sizes = np.array(lengths)
    batches = token_batches(sizes, most)
    assert sorted(np.concatenate(batches)) == list(range(len(sizes)))
    assert padding_share(sizes, batches) <= MOST_PADDING + 1e-9
    for rows in batches:
        assert len(rows) == 1 or len(rows) * sizes[rows].max() <= most


def test_no_rows_are_no_batches() -> None:
    assert token_batches(np.zeros(0, dtype=np.int64), 10) == []


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), min_size=1, max_size=5), st.booleans())
def test_padding_stands_where_the_mask_says(rows: list[list[int]], left: bool) -> None:
    ids, mask = padded(rows, 0, left)
    assert [row[row_mask.bool()].tolist() for row, row_mask in zip(ids, mask, strict=True)] == rows
    assert (ids[~mask.bool()] == 0).all()
    assert mask[:, -1 if left else 0].all()
