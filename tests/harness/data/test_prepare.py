from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.prepare import k_core_of, prepare
from harness.data.raw import RawDomain
from harness.errors import HarnessError

rows = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 5)), max_size=80)


def raw(events: list[tuple[int, int, int]]) -> RawDomain:
    frame = pd.DataFrame(events, columns=["user_id", "item_id", "timestamp"])
    frame = frame.astype({"user_id": str, "item_id": str, "timestamp": "int64"})
    items = pd.DataFrame({"item_id": [str(i) for i in range(7)], "text": [f"text {i}" for i in range(7)]})
    return RawDomain("toy", frame, items)


def brute_core(events: list[tuple[int, int, int]], k: int) -> list[tuple[int, int, int]]:
    """The k-core one removal at a time: the fixed point is unique, whatever the order of removal."""
    left = list(events)
    while True:
        users, items = Counter(u for u, _, _ in left), Counter(i for _, i, _ in left)
        bad = next((e for e in left if users[e[0]] < k or items[e[1]] < k), None)
        if bad is None:
            return left
        left.remove(bad)


@given(rows, st.integers(1, 5))
def test_k_core_is_the_unique_fixed_point(events: list[tuple[int, int, int]], k: int) -> None:
    core = k_core_of(raw(events).interactions, k)
    assert sorted(map(tuple, core.astype(int).to_numpy())) == sorted(brute_core(events, k))
    pd.testing.assert_frame_equal(core, k_core_of(core, k))


@given(rows)
def test_order_is_by_time_with_ties_as_they_came(events: list[tuple[int, int, int]]) -> None:
    unique = list(dict.fromkeys(events))
    if not unique:
        with pytest.raises(HarnessError, match="no interaction is left"):
            prepare(raw(events), 1)
        return
    domain = prepare(raw(events), 1)
    for user, items in zip(domain.user_ids, domain.interactions, strict=True):
        wanted = [e for e in unique if str(e[0]) == user]
        wanted.sort(key=lambda event: event[2])
        assert [domain.catalogue.item_ids[i] for i in items] == [str(e[1]) for e in wanted]


@given(rows.filter(bool), st.randoms())
def test_line_order_matters_only_for_ties(events: list[tuple[int, int, int]], random: object) -> None:
    # One instant an event: no ties.
    distinct = [(u, i, t) for t, (u, i, _) in enumerate(events)]
    shuffled = distinct.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert prepare(raw(distinct), 1).fingerprint == prepare(raw(shuffled), 1).fingerprint


def test_duplicate_rows_go_and_repeats_stay() -> None:
    domain = prepare(raw([(0, 1, 5), (0, 1, 5), (0, 1, 6)]), 1)
    assert domain.interactions.timestamps.tolist() == [5, 6]


def test_an_item_without_text_is_named() -> None:
    source = raw([(0, 1, 5)])
    with pytest.raises(HarnessError, match="1 items have no text, the first is '1'"):
        prepare(RawDomain("toy", source.interactions, source.items.iloc[3:]), 1)


def test_fingerprint_is_over_content() -> None:
    one = prepare(raw([(0, 1, 5), (0, 2, 6)]), 1)
    other = prepare(raw([(0, 1, 5), (0, 2, 7)]), 1)
    assert one.fingerprint != other.fingerprint
    assert not np.shares_memory(one.interactions.items, other.interactions.items)
