"""The workers that carry out a plan."""

import os
import time
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from harness.run.execute import _gpus, _workers, default_jobs
from harness.run.progress import Lines
from harness.run.workers import Task
from harness.run.workspace import Workspace
from harness.storage.store import Store


def visible(folder: Path, saw: Path) -> None:
    """Writes down what this worker may use, when another worker is there too."""
    (folder / str(os.getpid())).touch()
    deadline = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    saw.write_text(os.environ["CUDA_VISIBLE_DEVICES"])


@pytest.mark.parametrize(("device", "seen"), [("cpu", {"4, 7"}), ("cuda", {"4", "7"})])
def test_each_worker_sees_a_gpu_of_its_own(
    toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, seen: set[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 7")
    assert _gpus() == ["4", "7"]
    assert default_jobs("cuda") == 2
    met = tmp_path / "met"
    met.mkdir()
    with _workers(2, Workspace(toy.suite, Store(tmp_path), device)) as workers:
        tasks = [Task(str(number), partial(visible, met, tmp_path / f"saw {number}")) for number in range(2)]
        assert workers.carry_out(tasks, Lines(Console(quiet=True))) == {}
    assert {path.read_text() for path in tmp_path.glob("saw *")} == seen
