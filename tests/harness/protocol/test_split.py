from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.domain import Catalogue, Domain, Sequences
from harness.errors import HarnessError
from harness.protocol.split import LeaveOneOut, SelectedOnTest, Temporal, split_for
from tests.conftest import domain_of

histories = st.lists(st.lists(st.integers(0, 9), min_size=0, max_size=9), min_size=1, max_size=12)


@given(histories)
def test_leave_one_out_against_slicing(sequences: list[list[int]]) -> None:
    domain = domain_of(sequences, 10)
    training, test = LeaveOneOut().training(domain), LeaveOneOut().test(domain)
    assert [list(s) for s in training.train] == [s[:-2] for s in sequences]
    long = [u for u, s in enumerate(sequences) if len(s) >= 3]
    for held_out, back in ((training.validation, 2), (test, 1)):
        assert held_out.histories.users.tolist() == long
        assert held_out.targets.tolist() == [sequences[u][-back] for u in long]
        assert [list(s) for s in held_out.histories.sequences] == [sequences[u][:-back] for u in long]


@given(histories)
def test_no_held_out_event_is_in_training(sequences: list[list[int]]) -> None:
    # Instants are unique in this domain, so an instant names an event.
    domain = domain_of(sequences, 10)
    training = LeaveOneOut().training(domain)
    ends = domain.interactions.offsets[1:]
    validation, test = set(), set()
    for start, end in zip(domain.interactions.offsets, ends, strict=False):
        if end - start >= 3:
            validation.add(int(end) - 2)
            test.add(int(end) - 1)
    seen = set(training.train.timestamps.tolist())
    assert not seen & (validation | test)
    assert not set(training.validation.histories.sequences.timestamps.tolist()) & (validation | test)


@given(histories)
def test_selection_on_test_marks_the_training_data_and_keeps_the_test_events(
    sequences: list[list[int]],
) -> None:
    domain = domain_of(sequences, 10)
    training, test = SelectedOnTest().training(domain), LeaveOneOut().test(domain)
    assert [list(s) for s in training.train] == [s[:-1] for s in sequences]
    assert training.selected_on_test
    assert not LeaveOneOut().training(domain).selected_on_test
    for held_out in (training.validation, SelectedOnTest().test(domain)):
        assert held_out.targets.tolist() == test.targets.tolist()
        assert held_out.histories.users.tolist() == test.histories.users.tolist()
        assert [list(s) for s in held_out.histories.sequences] == [list(s) for s in test.histories.sequences]


@given(histories, st.lists(st.integers(0, 11), max_size=8))
def test_select_keeps_the_order_of_users(sequences: list[list[int]], users: list[int]) -> None:
    users = [u % len(sequences) for u in users]
    chosen = domain_of(sequences, 10).interactions.select(np.array(users, dtype=np.int64))
    assert [list(s) for s in chosen] == [sequences[u] for u in users]


def test_parts_share_no_memory_with_the_domain() -> None:
    whole = domain_of([[1, 2, 3, 4], [5, 6, 7]], 10).interactions
    part = whole.without_last(1)
    assert isinstance(part, Sequences)
    for name in ("items", "timestamps", "offsets"):
        array = getattr(part, name)
        assert array.base is None
        assert not array.flags.writeable
        assert not np.shares_memory(array, getattr(whole, name))


timelines = st.lists(st.lists(st.integers(0, 40), max_size=8), min_size=1, max_size=10)


def timed(times: list[list[int]]) -> Domain:
    """Users with events at the instants of `times`; the k-th event of all has item k."""
    flat = np.array([t for sequence in times for t in sorted(sequence)], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum([len(sequence) for sequence in times])])
    ids = tuple(str(i) for i in range(len(flat)))
    users = tuple(f"u{i}" for i in range(len(times)))
    return Domain("toy", Catalogue(ids, ids), users, Sequences(offsets, np.arange(len(flat)), flat))


@given(timelines, st.integers(1, 38), st.integers(1, 10))
def test_temporal_against_filtering(times: list[list[int]], first: int, width: int) -> None:
    domain, split = timed(times), Temporal(first, first + width)
    training, test = split.training(domain), split.test(domain)
    events = [list(zip(domain.interactions[u], sorted(s), strict=True)) for u, s in enumerate(times)]
    assert [list(s) for s in training.train] == [[i for i, t in mine if t < first] for mine in events]
    for held_out, start, end in ((training.validation, first, first + width), (test, first + width, 99)):
        expected = []
        for user, mine in enumerate(events):
            before = [i for i, t in mine if t < start]
            within = [(i, t) for i, t in mine if start <= t < end]
            if before and within:
                expected.append((user, before, *within[0]))
        actual = zip(
            held_out.histories.users,
            map(list, held_out.histories.sequences),
            held_out.targets,
            held_out.times,
            strict=True,
        )
        assert list(actual) == expected


@given(timelines, st.integers(1, 38), st.integers(1, 10))
def test_no_training_is_later_than_any_test(times: list[list[int]], first: int, width: int) -> None:
    domain, split = timed(times), Temporal(first, first + width)
    training, test = split.training(domain), split.test(domain)
    shown = np.concatenate([training.train.timestamps, training.validation.times])
    assert shown.max(initial=0) < first + width <= test.times.min(initial=first + width)
    # Items are unique to their events here.
    seen = set(training.train.items) | set(training.validation.targets)
    assert not seen & set(test.targets)
    assert not set(training.train.items) & set(training.validation.targets)


def test_the_instants_are_quantiles_of_the_target() -> None:
    domain = timed([list(range(0, 50)), list(range(50, 100))])
    assert Temporal.of(domain) == Temporal(79, 89)
    assert split_for("temporal", domain).identity == "temporal/0.000000079/0.000000089"
    assert Temporal(1_500_000_000 * 10**9, 1_600_000_000_090 * 10**6).identity == "temporal/1500000000/1600000000.09"
    with pytest.raises(HarnessError, match="leaves a part empty"):
        Temporal.of(timed([[1] * 8, [1, 1]]))
    with pytest.raises(HarnessError, match="has no timestamps"):
        Temporal.of(replace(domain, timed=False))
    with pytest.raises(HarnessError, match="has no timestamps"):
        Temporal(79, 89).training(replace(domain, timed=False))
    with pytest.raises(HarnessError, match="Did you mean 'temporal'"):
        split_for("temproal", domain)
