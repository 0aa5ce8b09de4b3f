"""Peak memory of blocks within blocks."""

import time

import numpy as np
import pytest

from harness.run.memory import PeakMemory


def test_what_is_held_for_a_moment_is_seen() -> None:
    with PeakMemory(every_s=0.005) as peak:
        before = peak.megabytes()
        held = np.ones(25_000_000)
        time.sleep(0.1)
        del held
    assert peak.megabytes() > before + 150
    assert peak.gpu_megabytes() is None


def test_a_block_s_gpu_peak_holds_that_of_a_block_within_it(monkeypatch: pytest.MonkeyPatch) -> None:
    count = {"highest": 0.0}
    monkeypatch.setattr("torch.cuda.reset_peak_memory_stats", lambda: count.update(highest=0.0))
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda: count["highest"])
    with PeakMemory("cuda", every_s=0.005) as whole:
        with PeakMemory("cuda", every_s=0.005) as first:
            count["highest"] = 9e6
            time.sleep(0.1)
            assert first.gpu_megabytes() == 9.0
        with PeakMemory("cuda", every_s=0.005) as second:
            count["highest"] = 2e6
            assert second.gpu_megabytes() == 2.0
    assert whole.gpu_megabytes() == 9.0
