"""No method can reach the test split: these methods try."""

import gc
import sys
import weakref
from typing import Any

import numpy as np
import pytest

from harness.data.domain import Domain
from harness.data.prepare import prepare
from harness.methods.api import NoSettings, gather_candidates
from tests.conftest import toy_raw


class Thief:
    """Looks for test events in everything it is given, on the stack, and in all of the process's memory."""

    settings = NoSettings()
    test_instants: np.ndarray
    found: list[str]
    given: list[Any]

    def fit(self, data, context):
        type(self).found = []
        self.search("an argument", [data, context])
        self.search("the stack", [dict(sys._getframe(depth).f_locals) for depth in range(1, 6)])
        self.search("memory", [o for o in gc.get_objects() if module_of(o).startswith("harness")])
        domains = [o for o in gc.get_objects() if type(o) is Domain]
        if any(np.isin(d.interactions.timestamps, Thief.test_instants).any() for d in domains):
            Thief.found.append("a whole domain in memory")
        return Accomplice(len(data.target_domain.catalogue))

    def search(self, where: str, roots: list[Any]) -> None:
        seen: set[int] = set()
        left = list(roots)
        while left:
            thing = left.pop()
            # The test's own notes of what to look for are no leak.
            if id(thing) in seen or thing is Thief.test_instants or issubclass(type(thing), type | type(sys)):
                continue
            seen.add(id(thing))
            if type(thing) in weakref.ProxyTypes:  # asking a dead one anything raises
                continue
            if isinstance(thing, np.ndarray):
                if thing.dtype.kind == "i" and np.isin(thing, Thief.test_instants).any():
                    Thief.found.append(f"test events in {where}")
                if thing.base is not None:
                    left.append(thing.base)
            elif callable(thing) or module_of(thing).startswith(("harness", "builtins", "types")):
                left.extend(r for r in gc.get_referents(thing) if not issubclass(type(r), type(sys) | type))


def module_of(thing: object) -> str:
    return str(getattr(type(thing), "__module__", ""))


class Accomplice:
    """Notes what the harness hands to a scorer."""

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items

    def score(self, histories, candidates):
        Thief.given.append((histories, candidates))
        return gather_candidates(np.zeros((len(histories), self.n_items), dtype=np.float32), candidates)


@pytest.fixture
def robbed(toy, monkeypatch):
    toy.add("thief", Thief)
    workspace = toy.workspace()
    instants = []
    for name in ("left", "right"):
        events = workspace.domain(name).interactions
        instants.append(events.timestamps[events.offsets[1:] - 1])
    del events
    Thief.test_instants, Thief.given = np.concatenate(instants), []
    del instants
    gc.collect()
    toy.run("thief", seeds=(0,), scenarios=[toy.suite.scenarios[0].name])
    return toy


def test_no_test_event_is_reachable_while_a_method_fits(robbed) -> None:
    assert Thief.found == []


def test_the_thief_would_find_a_leak() -> None:
    Thief.test_instants, Thief.found = np.array([77]), []
    hidden = np.array([1, 77, 3])[:1]  # a view leads back to the whole
    Thief().search("an argument", [{"deep": [(hidden,)]}])
    assert Thief.found == ["test events in an argument"]


def test_a_scorer_is_told_neither_the_target_nor_its_place(robbed) -> None:
    assert Thief.given
    domain = prepare(toy_raw("left", 1), 1)
    targets = domain.interactions.items[domain.interactions.offsets[1:] - 1]
    places = set()
    for histories, candidates in Thief.given:
        assert not np.isin(histories.sequences.timestamps, Thief.test_instants).any()
        if candidates is not None:
            assert (np.diff(candidates, axis=1) > 0).all()
            places |= set((candidates == targets[histories.users][:, None]).argmax(axis=1).tolist())
    assert len(places) > 3
