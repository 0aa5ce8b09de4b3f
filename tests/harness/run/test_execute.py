"""The workers that carry out a plan."""

import os
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest
from rich.console import Console

from harness.errors import HarnessError
from harness.methods.api import NoSettings
from harness.methods.artefact import Artefact, TrainingEstimate
from harness.run.execute import _artefact, _gpus, _workers, default_jobs, execute
from harness.run.plan import make_plan
from harness.run.progress import Lines
from harness.run.workers import Task
from harness.run.workspace import Workspace
from harness.storage.store import Store
from harness.training.record import TrainingRecord
from tests.harness.report.test_leaderboard import Fixed


def write_visible_gpus(folder: Path, output: Path) -> None:
    """Write this worker's CUDA_VISIBLE_DEVICES once another worker runs too."""
    (folder / str(os.getpid())).touch()
    deadline = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    output.write_text(os.environ["CUDA_VISIBLE_DEVICES"])


@pytest.mark.parametrize(("device", "expected"), [("cpu", {"4, 7"}), ("cuda", {"4", "7"})])
def test_cuda_workers_see_one_gpu_each(
    toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, expected: set[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 7")
    assert _gpus() == ["4", "7"]
    assert default_jobs("cuda") == 2
    started = tmp_path / "started"
    started.mkdir()
    with _workers(2, Workspace(toy.suite, Store(tmp_path), device)) as workers:
        tasks = [
            Task(str(number), partial(write_visible_gpus, started, tmp_path / f"gpus {number}")) for number in range(2)
        ]
        assert workers.carry_out(tasks, Lines(Console(quiet=True))) == {}
    assert {path.read_text() for path in tmp_path.glob("gpus *")} == expected


@dataclass(frozen=True)
class Trained(Fixed):
    """A method with one artefact."""

    factor: float = 1.0
    settings: NoSettings = field(default_factory=NoSettings)

    def artefacts(self, data, budget, seed):
        return [Artefact("toy", f"toy {self.factor}", {"factor": self.factor}, lambda *_: pytest.fail("trained"))]


def test_code_that_has_changed_since_a_run_was_planned_is_refused(toy) -> None:
    toy.add("changing", Trained)
    workspace = toy.workspace()
    plan = make_plan(workspace, toy.suite.scenarios[:1], ("changing",), (0,))
    toy.add("changing", partial(Trained, factor=2.0))
    message = "The code has changed since the run was planned. Run the command again."
    with pytest.raises(HarnessError, match=message):
        _artefact(plan.trainings[0], workspace)
    (failed,) = execute(plan, workspace, 0, Lines(Console(quiet=True)))
    assert failed.failure.cause == message
    assert not workspace.store.has("run", plan.runs[0].key)


@dataclass(frozen=True)
class Costly(Fixed):
    """A method with one artefact of a known cost, which notes what happens."""

    name: str
    flops: float | None
    settings: NoSettings = field(default_factory=NoSettings)
    journal: ClassVar[list[str]] = []

    def artefacts(self, data, budget, seed):
        estimate = None if self.flops is None else lambda: TrainingEstimate(1, self.flops, 1)
        return [Artefact("toy", self.name, {"name": self.name}, self._train, estimate)]

    def _train(self, folder, context):
        self.journal.append(f"train {self.name}")
        return TrainingRecord((0.1,), 1, 1, 1, {})

    def fit(self, data, context):
        self.journal.append(f"score {self.name}")
        return super().fit(data, context)


def test_runs_are_made_as_soon_as_they_can_be_small_models_first_then_the_longest(toy) -> None:
    journal = Costly.journal
    journal.clear()
    for name, flops in (("short", 1.0), ("long", 9.0), ("small", None)):
        toy.add(name, partial(Costly, name, flops))
    workspace = toy.workspace()
    plan = make_plan(workspace, toy.suite.scenarios[:1], ("short", "long", "small"), (0,))
    assert execute(plan, workspace, 0, Lines(Console(quiet=True)), finished=lambda: journal.append("finished")) == []
    assert journal == [
        f"{what} {name}" if name else what
        for name in ("small", "long", "short")
        for what, name in (("train", name), ("score", name), ("finished", ""))
    ]


def test_the_board_grows_while_a_suite_runs(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    boards: list[str] = []

    class Watching(Fixed):
        def fit(self, data, context):
            path = toy.out / "toy-v1.md"
            boards.append(path.read_text() if path.exists() else "")
            return super().fit(data, context)

    toy.add("watching", Watching)
    toy.run("watching", seeds=(0,))
    assert boards == ["", ""]  # too early
    monkeypatch.setattr("harness.run.suite._FIRST_BOARD_S", -1e9)
    toy.run("popularity", "watching", seeds=(1,))
    assert "| popularity" in boards[-1]
    assert "| popularity" in (toy.out / "toy-v1.md").read_text()
