"""Peak memory of nested blocks."""

import time

import numpy as np
import pytest

from harness.run.memory import PeakMemory


def test_peak_includes_memory_that_was_freed() -> None:
    with PeakMemory(every_s=0.005) as peak:
        before = peak.megabytes()
        array = np.ones(25_000_000)
        time.sleep(0.1)
        del array
    assert peak.megabytes() > before + 150
    assert peak.gpu_megabytes() is None


def test_gpu_peak_of_a_block_includes_nested_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    count = {"highest": 0.0}
    monkeypatch.setattr("torch.cuda.reset_peak_memory_stats", lambda: count.update(highest=0.0))
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda: count["highest"])
    with PeakMemory("cuda", every_s=0.005) as outer:
        with PeakMemory("cuda", every_s=0.005) as first:
            count["highest"] = 9e6
            time.sleep(0.1)
            assert first.gpu_megabytes() == 9.0
        with PeakMemory("cuda", every_s=0.005) as second:
            count["highest"] = 2e6
            assert second.gpu_megabytes() == 2.0
    assert outer.gpu_megabytes() == 9.0
