"""Toy data and toy methods, so that most tests need neither real data nor a trained model."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import harness.methods.registry
from harness.data.domain import Catalogue, Domain, Sequences
from harness.data.records import RawDomain, no_read_progress
from harness.data.sources import Source
from harness.methods import method_file
from harness.protocol.scenario import DomainSpec, Scenario
from harness.protocol.suite import Budget, Suite
from harness.run.suite import SuiteRun, run_suite
from harness.run.workspace import Workspace, open_workspace


def toy_raw(name: str, seed: int = 0, n_users: int = 30, n_items: int = 40) -> RawDomain:
    """Return random interactions with unique timestamps, so that a timestamp identifies one event."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 12, n_users)
    users = np.repeat(np.arange(n_users), lengths)
    items = np.concatenate([rng.permutation(n_items)[:length] for length in lengths])
    times = 1_000_000 * (seed + 1) + rng.permutation(len(users))
    interactions = pd.DataFrame(
        {
            "user_id": [f"u{u:03}" for u in users],
            "item_id": [f"{name}{i:03}" for i in items],
            "timestamp": times.astype("int64"),
        }
    )
    catalogue = pd.DataFrame(
        {
            "item_id": [f"{name}{i:03}" for i in range(n_items)],
            "text": [f"{name} film number {i}" for i in range(n_items)],
        }
    )
    return RawDomain.of(name, interactions, catalogue)


class Toy(Source):
    """A source of toy domains; each seed gives another domain."""

    source: str = "toy"
    seed: int
    n_users: int = 30

    def files(self, folder):
        return ()

    def open(self, name, folder, report=no_read_progress):
        return toy_raw(name, self.seed, self.n_users)


def domain_of(sequences: list[list[int]], n_items: int, name: str = "toy") -> Domain:
    """Return a domain of item sequences; timestamps count the events, user after user."""
    offsets = np.concatenate([[0], np.cumsum([len(s) for s in sequences])])
    flat = np.array([item for s in sequences for item in s], dtype=np.int64)
    return Domain(
        name,
        Catalogue(tuple(f"i{i}" for i in range(n_items)), tuple(f"text {i}" for i in range(n_items))),
        tuple(f"u{u}" for u in range(len(sequences))),
        Sequences(offsets, flat, np.arange(len(flat))),
    )


@pytest.fixture(autouse=True)
def no_imported_files(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget, after each test, what it imported from temporary folders: the next may have modules of the same names.

    The cache folder that a command used is forgotten too.
    """
    monkeypatch.setattr(sys, "path", list(sys.path))
    # Commands set it for their workers; set and deleted here, it is restored afterwards.
    monkeypatch.setenv("HARNESS_CACHE", "")
    monkeypatch.delenv("HARNESS_CACHE")
    monkeypatch.setattr(method_file, "_imported", {})
    yield
    temporary = str(tmp_path_factory.getbasetemp())
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(temporary):
            del sys.modules[name]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A suite over two toy domains: `add(name, factory)` registers a method, `run(*names)` runs methods."""
    seeds = {"left": 1, "right": 2}
    suite = Suite(
        name="toy",
        version=1,
        title="toy",
        domains=tuple(DomainSpec(name, Toy(seed=seed), 1, None) for name, seed in seeds.items()),
        scenarios=(Scenario("left-from-right", "left", ("right",)), Scenario("right-from-left", "right", ("left",))),
        candidates=("full", "sampled-10", "retrieved-15"),
        candidate_seed=7,
        methods=("popularity",),
        seeds=(0, 1),
        budget=Budget(trials=1, epochs=3, patience=2),
    )
    entries = dict(harness.methods.registry.entries_by_name(harness.methods.registry.ENTRY_POINTS))
    families = harness.methods.registry.entries_by_name(harness.methods.registry.FAMILIES)

    def add(name: str, factory: Callable[[], Any]) -> None:
        entry = SimpleNamespace(
            name=name,
            group=harness.methods.registry.ENTRY_POINTS,
            module="tests.conftest",
            dist=None,
            load=lambda: factory,
        )
        entries[name] = [entry]  # type: ignore[list-item]

    monkeypatch.setattr(
        harness.methods.registry,
        "entries_by_name",
        lambda group: families if group == harness.methods.registry.FAMILIES else entries,
    )
    monkeypatch.setattr(harness.methods.registry, "packages_of", lambda name: ("baselines", "weaverec"))
    monkeypatch.setattr("harness.run.score.packages_of", lambda name: ("baselines", "weaverec"))
    namespace = SimpleNamespace(suite=suite, add=add, cache=tmp_path / "cache", out=tmp_path / "out", replace=replace)

    def workspace(suite: Suite | None = None) -> Workspace:
        return open_workspace(suite or namespace.suite, cache_dir=namespace.cache, data_dir=namespace.cache)

    def run(*methods: str, seeds: tuple[int, ...] = (0, 1), **options: Any) -> SuiteRun:
        """Run methods in this process; stop at the first failure."""
        return run_suite(
            namespace.suite,
            methods=methods,
            seeds=seeds,
            output_dir=namespace.out,
            cache_dir=namespace.cache,
            data_dir=namespace.cache,
            device="cpu",
            jobs=0,
            **{"stop_on_error": True, "console": Console(quiet=True), **options},
        )

    namespace.workspace, namespace.run = workspace, run
    return namespace
