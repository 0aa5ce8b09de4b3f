"""The workers that carry out a plan."""

import os
import time
from pathlib import Path

import pytest

from harness.run.execute import Workplace, _gpus, _workers, default_jobs


def visible(folder: Path) -> str | None:
    """What this worker may use, when another worker is there too."""
    (folder / str(os.getpid())).touch()
    deadline = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return os.environ.get("CUDA_VISIBLE_DEVICES")


@pytest.mark.parametrize(("device", "seen"), [("cpu", {"4, 7"}), ("cuda", {"4", "7"})])
def test_each_worker_sees_a_gpu_of_its_own(
    toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, seen: set[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 7")
    assert _gpus() == ["4", "7"]
    assert default_jobs("cuda") == 2
    met = tmp_path / "met"
    met.mkdir()
    with _workers(2, Workplace(toy.suite, {}, tmp_path, device)) as (pool, _):
        tasks = [pool.submit(visible, met) for _ in range(2)]
        assert {task.result() for task in tasks} == seen
