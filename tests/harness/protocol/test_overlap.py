import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.data.domain import Catalogue, Domain, Sequences
from harness.protocol.overlap import person_ids, without_overlap

names = st.lists(st.sampled_from("abcdefghij"), unique=True, max_size=8)


def domain(name: str, users: list[str]) -> Domain:
    """Each user has three events with items that identify the user."""
    items = [ord(user) - 97 for user in users for _ in range(3)]
    catalogue = Catalogue(tuple("0123456789"), tuple("0123456789"))
    sequences = Sequences(np.arange(0, 3 * len(users) + 1, 3), np.array(items), np.arange(len(items)))
    return Domain(name, catalogue, tuple(users), sequences)


@given(names, names, names, st.integers(0, 99))
def test_every_person_stays_in_exactly_one_domain(a: list[str], b: list[str], c: list[str], seed: int) -> None:
    whole = {"a": domain("a", a), "b": domain("b", b), "c": domain("c", c)}
    same = dict.fromkeys(whole, "amazon")
    left = without_overlap(whole, same, seed)
    homes = [user for d in left.values() for user in d.user_ids]
    assert sorted(homes) == sorted({*a, *b, *c})
    for name, part in left.items():
        assert part.catalogue == whole[name].catalogue
        for user, items in zip(part.user_ids, part.interactions, strict=True):
            assert items.tolist() == [ord(user) - 97] * 3
    again = without_overlap(dict(reversed(whole.items())), same, seed)
    assert {name: d.user_ids for name, d in again.items()} == {name: d.user_ids for name, d in left.items()}


@given(names, names)
def test_equal_ids_of_other_platforms_are_other_persons(a: list[str], b: list[str]) -> None:
    whole = {"a": domain("a", a), "b": domain("b", b)}
    for users in ({"a": "amazon", "b": "steam"}, {"a": None, "b": None}):
        assert without_overlap(whole, users, 0) == whole
        assert not set(person_ids(whole["a"], users["a"])) & set(person_ids(whole["b"], users["b"]))


def test_the_draw_is_even() -> None:
    users = [f"{i:04}" for i in range(4000)]
    items = np.zeros(len(users))
    catalogue = Catalogue(("0",), ("0",))
    sequences = Sequences(np.arange(len(users) + 1), items, items)
    whole = {name: Domain(name, catalogue, tuple(users), sequences) for name in "ab"}
    left = without_overlap(whole, dict.fromkeys("ab", "amazon"), 1)
    assert 1850 < len(left["a"].user_ids) < 2150
    other = without_overlap(whole, dict.fromkeys("ab", "amazon"), 2)
    assert left["a"].user_ids != other["a"].user_ids
