"""What a training goes on from."""

from pathlib import Path

import pytest
import torch

from harness.errors import HarnessError
from harness.resuming import Checkpoint


def test_what_was_spent_before_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def opened() -> Checkpoint:
        return Checkpoint(tmp_path / "kept.safetensors", since=now[0])

    first = opened()
    assert first.read() is None
    now[0] = 130.0
    first.write({"weights": torch.ones(2)}, {"epoch": 1})
    now[0] = 140.0
    first.write({"weights": torch.ones(2)}, {"epoch": 2})
    now[0] = 900.0  # killed at some time, started again later
    second = opened()
    assert second.read()[1]["epoch"] == 2
    now[0] = 905.0
    assert second.spent == pytest.approx(45)
    second.write({"weights": torch.ones(2)}, {"epoch": 3})
    now[0] = 910.0
    assert second.spent == pytest.approx(50)
    now[0] = 2000.0
    assert opened().spent == pytest.approx(45)


def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "kept.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(HarnessError, match="Corrupt checkpoint"):
        Checkpoint(path).read()
