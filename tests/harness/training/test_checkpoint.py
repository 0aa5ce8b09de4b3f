"""What a training goes on from."""

import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.training.checkpoint import Checkpoint


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


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    Checkpoint(tmp_path / "kept").write({"a": torch.arange(3), "b": torch.ones(2, 2)}, {"epoch": 4, "word": "é"})
    tensors, notes = Checkpoint(tmp_path / "kept").read()
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {"a": [0, 1, 2], "b": [[1, 1], [1, 1]]}
    assert (notes["epoch"], notes["word"]) == (4, "é")
    tensors["a"] += 1  # they can be gone on from


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_a_flipped_byte_is_told_and_the_training_starts_anew(where: float, flip: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kept")
        Checkpoint(path).write({"weights": torch.ones(2)}, {"epoch": 1})
        whole = bytearray(path.read_bytes())
        whole[int(where * len(whole))] ^= flip
        path.write_bytes(whole)
        told: list[str] = []
        checkpoint = Checkpoint(path, tell=told.append)
        assert checkpoint.read() is None
        assert told == [f"Corrupt checkpoint {path} (it has changed): the training starts anew."]
        assert checkpoint.spent_before == 0
        assert len(told) == 1


@pytest.mark.parametrize("content", [b"", b"nothing", b"\n\n"])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "kept"
    path.write_bytes(content)
    told: list[str] = []
    assert Checkpoint(path, tell=told.append).read() is None
    assert f"Corrupt checkpoint {path}" in told[0]
