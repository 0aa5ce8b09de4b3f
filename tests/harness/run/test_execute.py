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
