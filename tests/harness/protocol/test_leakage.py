import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.data.domain import Catalogue, Domain, Sequences
from harness.protocol.leakage import audit
from harness.protocol.split import LeaveOneOut, Split, Temporal, TrainingData

timelines = st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=7), min_size=3, max_size=8)


def domain(name: str, times: list[list[int]], timed: bool = True) -> Domain:
    flat = [t for sequence in times for t in sorted(sequence)]
    offsets = np.concatenate([[0], np.cumsum([len(sequence) for sequence in times])])
    users = tuple(f"user{i}" for i in range(len(times)))
    items = np.arange(len(flat)) % 5
    return Domain(
        name, Catalogue(tuple("01234"), tuple("01234")), users, Sequences(offsets, items, np.array(flat)), timed
    )


def training(split: Split, target: Domain, source: Domain) -> TrainingData:
    return TrainingData("t", ("s",), {"t": split.training(target), "s": split.training(source)})


@given(timelines, timelines)
def test_leakage_of_leave_one_out_against_brute_force(target: list[list[int]], source: list[list[int]]) -> None:
    target = [*target, [1, 2, 3]]
    leakage = audit(
        training(LeaveOneOut(), domain("t", target), domain("s", source)), LeaveOneOut().test(domain("t", target))
    )
    assert leakage is not None

    def seen(sequence: list[int]) -> list[int]:
        # Validation takes part only where there are three events.
        return sorted(sequence)[: -1 if len(sequence) >= 3 else -2]

    tests = {u: max(s) for u, s in enumerate(target) if len(s) >= 3}
    shown = {"t": [t for s in target for t in seen(s)], "s": [t for s in source for t in seen(s)]}
    assert leakage.later == {name: sum(t > min(tests.values()) for t in times) for name, times in shown.items()}
    latest = max([*shown["t"], *shown["s"]])
    assert leakage.exposed_users == np.mean([t < latest for t in tests.values()])
    own_later = [any(x > t for x in seen(source[u])) if u < len(source) else False for u, t in tests.items()]
    assert leakage.exposed_by_own == np.mean(own_later)


@given(timelines, timelines)
def test_a_temporal_split_has_no_leakage(target: list[list[int]], source: list[list[int]]) -> None:
    target = [*target, [0, 10, 20, 30, 40, 50, 60], [5, 35, 55]]
    split = Temporal(30, 45)
    leakage = audit(training(split, domain("t", target), domain("s", source)), split.test(domain("t", target)))
    assert leakage is not None
    assert (leakage.later, leakage.exposed_users, leakage.exposed_by_own) == ({"t": 0, "s": 0}, 0.0, 0.0)


def test_leakage_is_unknown_without_timestamps() -> None:
    target, source = domain("t", [[1, 2, 3]]), domain("s", [[1, 2, 3]], timed=False)
    assert audit(training(LeaveOneOut(), target, source), LeaveOneOut().test(target)) is None
