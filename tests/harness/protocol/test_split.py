import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.data.domain import Sequences
from harness.protocol.split import LeaveOneOut
from tests.conftest import domain_of

histories = st.lists(st.lists(st.integers(0, 9), min_size=0, max_size=9), min_size=1, max_size=12)


@given(histories)
def test_leave_one_out_is_what_slicing_says(sequences: list[list[int]]) -> None:
    domain = domain_of(sequences, 10)
    training, test = LeaveOneOut().training(domain), LeaveOneOut().test(domain)
    assert [list(s) for s in training.train] == [s[:-2] for s in sequences]
    long = [u for u, s in enumerate(sequences) if len(s) >= 3]
    for held, back in ((training.validation, 2), (test, 1)):
        assert held.histories.users.tolist() == long
        assert held.targets.tolist() == [sequences[u][-back] for u in long]
        assert [list(s) for s in held.histories.sequences] == [sequences[u][:-back] for u in long]


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


@given(histories, st.lists(st.integers(0, 11), max_size=8))
def test_select_takes_users_in_the_asked_order(sequences: list[list[int]], users: list[int]) -> None:
    users = [u % len(sequences) for u in users]
    chosen = domain_of(sequences, 10).interactions.select(np.array(users, dtype=np.int64))
    assert [list(s) for s in chosen] == [sequences[u] for u in users]


def test_parts_share_no_memory_with_the_whole() -> None:
    whole = domain_of([[1, 2, 3, 4], [5, 6, 7]], 10).interactions
    part = whole.without_last(1)
    assert isinstance(part, Sequences)
    for name in ("items", "timestamps", "offsets"):
        array = getattr(part, name)
        assert array.base is None
        assert not array.flags.writeable
        assert not np.shares_memory(array, getattr(whole, name))
