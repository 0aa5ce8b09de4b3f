"""Trainings in several processes come to what one process comes to."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from harness.cli.app import app
from harness.data.prepare import prepare
from harness.errors import HarnessError
from harness.methods.artefact import Artefact
from harness.protocol.split import LeaveOneOut, TrainingData
from harness.protocol.suite import Budget
from harness.report.collect import collect
from harness.run.artefact import artefact_key, train, train_along
from harness.storage.store import Store
from harness.training.checkpoint import Checkpoint
from harness.training.distributed import SINGLE_PROCESS, ProcessGroup
from tests.conftest import toy_raw
from tests.weaverec.decoders import decoder
from weaverec.lm.backbone import Backbone
from weaverec.merging.task_vectors import task_vector
from weaverec.ranker.train import RankerSettings, ranker_component
from weaverec.retriever.train import ComponentSettings, component

BUDGET = Budget(1, 5, 5)


def artefacts(backbone: Backbone) -> dict[str, Artefact]:
    """Of each way to share a step; the last has steps of one user, so that a process has nothing to read."""
    parts = {n: LeaveOneOut().training(prepare(toy_raw(n, i, 12, 15), 1)) for i, n in enumerate("ab")}
    data = TrainingData("a", ("b",), parts)
    encoder = ComponentSettings(steps=4, batch=30, validate_every=2, fresh=8, items=10)
    reads = replace(encoder, backbone=str(backbone.folder))
    asked = RankerSettings(
        backbone=str(backbone.folder), steps=4, batch=5, cap=15, validation_users=7, weights="float32", most_tokens=600
    )
    return {
        "encoder": component(data, ("a", "b"), encoder, BUDGET, 0),
        "decoder-only": component(data, ("a", "b"), reads, BUDGET, 0),
        "ranker": ranker_component(data, ("a", "b"), asked, BUDGET, 0),
        "one user a step": component(data, ("a",), replace(reads, batch=1), BUDGET, 0),
    }


def _process(rank: int, count: int, meeting: str, backbone: Backbone, store: Path) -> None:
    """One of several processes; called in each of them."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=count)
    # In bfloat16, sums in another order differ in the second decimal.
    sys.modules["weaverec.lm.backbone"].has_bfloat16 = lambda _: False
    own = ProcessGroup(rank, count)
    for artefact in artefacts(backbone).values():
        if own.main:
            train(artefact, Store(store), "cpu", lambda *_: None, own)
        else:
            train_along(artefact, Store(store), "cpu", own)
    torch.distributed.destroy_process_group()


def test_two_processes_train_what_one_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weaverec.lm.backbone.has_bfloat16", lambda _: False)
    backbone = decoder("qwen2", tmp_path / "qwen2")
    alone, shared = Store(tmp_path / "alone"), Store(tmp_path / "shared")
    torch.multiprocessing.spawn(_process, (2, str(tmp_path / "meeting"), backbone, shared.root), nprocs=2)
    for name, artefact in artefacts(backbone).items():
        assert artefact.shared
        train(artefact, alone, "cpu", lambda *_: None)
        key = artefact_key(artefact)
        one, two = alone.read("lora", key), shared.read("lora", key)
        expected, found = task_vector(one.folder), task_vector(two.folder)
        for layer, weights in expected.items():
            assert (found[layer] - weights).norm() <= 1e-3 * weights.norm(), (name, layer)
        records = one.notes["record"], two.notes["record"]
        assert records[0]["validation"] == pytest.approx(
            records[1]["validation"], abs=1e-2
        )  # a rank of one user of few
        assert [r["steps"] for r in records] == [records[0]["steps"]] * 2
    assert not list(tmp_path.glob("shared/unfinished/*"))
    assert not list(tmp_path.glob("shared/**/.*"))


def test_a_run_in_two_processes_says_what_a_run_in_one_says(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("--module", "harness.cli", "run", "--suite", "cdsr-smoke", "--method", "target-only", "--method", "markov"),
        *("--device", "cpu", "--json", "--cache-dir", str(tmp_path / "cache"), "--output-dir", str(tmp_path / "out")),
    ]
    # Where a process was, should a signal end it.
    shows = os.environ | {"PYTHONFAULTHANDLER": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, env=shows)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)  # one document, of one process
    assert all(Path(run["result"]).is_file() for run in said["results"])
    results = collect(tmp_path / "out" / "results", "cdsr-smoke", 1).results
    assert {result.method for result in results} == {"markov", "target-only"}
    (record,) = next(result for result in results if result.method == "target-only").training
    assert record.notes["processes"] == 2


def test_shares_are_everything_once() -> None:
    for count in range(1, 6):
        for n in range(8):
            parts = [ProcessGroup(rank, count).share(n).tolist() for rank in range(count)]
            assert sorted(place for part in parts for place in part) == list(range(n))


def test_a_process_alone_changes_nothing() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    SINGLE_PROCESS.add_gradients([weight])
    assert weight.grad is None
    assert SINGLE_PROCESS.total(0.1) == 0.1
    rows = torch.arange(6.0).reshape(3, 2)
    assert SINGLE_PROCESS.joined(rows, torch.tensor([2, 0, 1]).numpy(), 3).tolist() == [[2, 3], [4, 5], [0, 1]]


def test_only_runs_may_be_started_in_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = CliRunner().invoke(app, ["ls"])
    assert isinstance(result.exception, HarnessError)
    assert "accelerate launch" in str(result.exception)
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "1")
    assert CliRunner().invoke(app, ["ls"]).exit_code == 0


def test_what_goes_along_writes_nothing(tmp_path: Path) -> None:
    """A process that is not the main one leaves neither an artefact nor a checkpoint."""
    store = Store(tmp_path / "store")
    seen: list[Checkpoint] = []

    def make(folder: Path, making):
        seen.append(making.checkpoint)
        assert not making.processes.main
        (folder / "file").touch()

    artefact = Artefact("lora", "toy", {}, make, shared=True)
    train_along(artefact, store, "cpu", ProcessGroup(1, 2))
    assert seen == [Checkpoint(store.unfinished_path("lora", artefact_key(artefact)))]
    assert not (tmp_path / "store").exists()
