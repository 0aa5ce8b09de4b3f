"""Methods cannot reach the test split: one searches arguments, the stack and memory for it."""

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


class Searcher:
    """A method that searches its arguments, the stack and the process's memory for test events."""

    settings = NoSettings()
    test_timestamps: np.ndarray
    leaks: list[str]
    scored: list[Any]

    def fit(self, data, context):
        type(self).leaks = []
        self.search("an argument", [data, context])
        self.search("the stack", [dict(sys._getframe(depth).f_locals) for depth in range(1, 6)])
        self.search("memory", [o for o in gc.get_objects() if module_of(o).startswith("harness")])
        domains = [o for o in gc.get_objects() if type(o) is Domain]
        if any(np.isin(d.interactions.timestamps, Searcher.test_timestamps).any() for d in domains):
            Searcher.leaks.append("an unsplit domain in memory")
        return RecordingScorer(len(data.target_domain.catalogue))

    def search(self, where: str, roots: list[Any]) -> None:
        seen: set[int] = set()
        queue = list(roots)
        while queue:
            value = queue.pop()
            # The timestamps that this test searches for are not a leak.
            if id(value) in seen or value is Searcher.test_timestamps or issubclass(type(value), type | type(sys)):
                continue
            seen.add(id(value))
            if type(value) in weakref.ProxyTypes:  # any access to a dead proxy raises
                continue
            if isinstance(value, np.ndarray):
                if value.dtype.kind == "i" and np.isin(value, Searcher.test_timestamps).any():
                    Searcher.leaks.append(f"test events in {where}")
                if value.base is not None:
                    queue.append(value.base)
            elif callable(value) or module_of(value).startswith(("harness", "builtins", "types")):
                queue.extend(r for r in gc.get_referents(value) if not issubclass(type(r), type(sys) | type))


def module_of(value: object) -> str:
    return str(getattr(type(value), "__module__", ""))


class RecordingScorer:
    """Records the arguments of each call of `score`."""

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items

    def score(self, histories, candidates):
        Searcher.scored.append((histories, candidates))
        return gather_candidates(np.zeros((len(histories), self.n_items), dtype=np.float32), candidates)


@pytest.fixture
def searched_run(toy, monkeypatch):
    toy.add("searcher", Searcher)
    workspace = toy.workspace()
    timestamps = []
    for name in ("left", "right"):
        events = workspace.domain(name).interactions
        timestamps.append(events.timestamps[events.offsets[1:] - 1])
    del events
    Searcher.test_timestamps, Searcher.scored = np.concatenate(timestamps), []
    del timestamps
    gc.collect()
    toy.run("searcher", seeds=(0,), scenarios=[toy.suite.scenarios[0].name])
    return toy


def test_no_test_event_is_reachable_during_fit(searched_run) -> None:
    assert Searcher.leaks == []


def test_search_finds_test_timestamps_behind_a_view() -> None:
    Searcher.test_timestamps, Searcher.leaks = np.array([77]), []
    view = np.array([1, 77, 3])[:1]  # a view refers to its base array
    Searcher().search("an argument", [{"deep": [(view,)]}])
    assert Searcher.leaks == ["test events in an argument"]


def test_scorer_arguments_do_not_reveal_the_test_item(searched_run) -> None:
    assert Searcher.scored
    domain = prepare(toy_raw("left", 1), 1)
    targets = domain.interactions.items[domain.interactions.offsets[1:] - 1]
    target_positions = set()
    for histories, candidates in Searcher.scored:
        assert not np.isin(histories.sequences.timestamps, Searcher.test_timestamps).any()
        if candidates is not None:
            assert (np.diff(candidates, axis=1) > 0).all()
            target_positions |= set((candidates == targets[histories.users][:, None]).argmax(axis=1).tolist())
    assert len(target_positions) > 3
