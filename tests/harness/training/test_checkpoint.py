"""Checkpoints of interrupted training runs."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.training.checkpoint import Checkpoint, TrainingLoopState
from harness.training.early_stopping import EarlyStopping


def test_time_spent_before_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr("time.process_time", lambda: 2 * now[0])

    def new_process() -> Checkpoint:
        return Checkpoint(tmp_path / "checkpoint")

    first = new_process()
    assert first.read() is None
    now[0] = 130.0
    first.write({"weights": torch.ones(2)}, {"epoch": 1})
    now[0] = 140.0
    first.write({"weights": torch.ones(2)}, {"epoch": 2})
    now[0] = 900.0  # interrupted at some time, started again later
    second = new_process()
    assert second.read()[1]["epoch"] == 2
    now[0] = 905.0
    assert second.spent == pytest.approx({"wall_s": 45, "cpu_s": 90})
    second.write({"weights": torch.ones(2)}, {"epoch": 3})
    now[0] = 910.0
    assert second.spent == pytest.approx({"wall_s": 50, "cpu_s": 100})
    now[0] = 2000.0
    assert new_process().spent == pytest.approx({"wall_s": 45, "cpu_s": 90})


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    Checkpoint(path).write({"a": torch.arange(3), "b": torch.ones(2, 2)}, {"epoch": 4, "word": "é"})
    tensors, notes = Checkpoint(path).read()
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {"a": [0, 1, 2], "b": [[1, 1], [1, 1]]}
    assert (notes["epoch"], notes["word"]) == (4, "é")
    tensors["a"] += 1  # the tensors are writable


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_a_flipped_byte_is_reported_and_the_training_starts_from_scratch(where: float, flip: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint")
        Checkpoint(path).write({"weights": torch.ones(2)}, {"epoch": 1})
        content = bytearray(path.read_bytes())
        content[int(where * len(content))] ^= flip
        path.write_bytes(content)
        messages: list[str] = []
        checkpoint = Checkpoint(path, tell=messages.append)
        assert checkpoint.read() is None
        assert messages == [f"Corrupt checkpoint {path} (it has changed): the training starts from scratch."]
        assert checkpoint.spent_before == (0, 0)
        assert len(messages) == 1


@pytest.mark.parametrize("content", [b"", b"nothing", b"\n\n"])
def test_other_files_are_reported(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint"
    path.write_bytes(content)
    messages: list[str] = []
    assert Checkpoint(path, tell=messages.append).read() is None
    assert f"Corrupt checkpoint {path}" in messages[0]


class Loop:
    """A small training loop whose steps depend on all that a checkpoint must restore."""

    def __init__(self, path: Path) -> None:
        torch.manual_seed(0)
        self.model = torch.nn.Linear(3, 1)
        self.rng = np.random.default_rng(0)
        self.stopping: EarlyStopping[dict[str, torch.Tensor]] = EarlyStopping(patience=3)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=0.1)
        self.state = TrainingLoopState(
            Checkpoint(path), self.optimiser, self.stopping, self.weights, self.model.load_state_dict, 0.0, self.rng
        )

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}

    def step(self, step: int) -> None:
        inputs = torch.from_numpy(self.rng.standard_normal((4, 3)).astype(np.float32)) + torch.randn(4, 3)
        self.optimiser.zero_grad()
        self.model(inputs).square().mean().backward()
        self.optimiser.step()
        self.stopping.update(float(np.sin(step) + np.random.random() + self.rng.random()), step, self.weights)  # noqa: NPY002


def test_a_resumed_loop_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    np.random.seed(0)  # noqa: NPY002
    whole = Loop(tmp_path / "whole")
    assert whole.state.restore() is None
    for step in range(6):
        whole.step(step)
    np.random.seed(0)  # noqa: NPY002
    interrupted = Loop(tmp_path / "interrupted")
    for step in range(3):
        interrupted.step(step)
    interrupted.state.save({"step": 2})
    np.random.seed(9)  # noqa: NPY002
    resumed = Loop(tmp_path / "interrupted")
    assert resumed.state.restore() == {"step": 2}
    for step in range(3, 6):
        resumed.step(step)
    assert resumed.stopping.curve == whole.stopping.curve
    assert resumed.stopping.best_step == whole.stopping.best_step
    assert resumed.stopping.exhausted == whole.stopping.exhausted
    for name, tensor in whole.weights().items():
        torch.testing.assert_close(resumed.weights()[name], tensor, rtol=0, atol=0)
        torch.testing.assert_close(resumed.stopping.state[name], whole.stopping.state[name], rtol=0, atol=0)


def test_a_save_is_due_after_the_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    loop = Loop(tmp_path / "checkpoint")
    loop.state.interval_s = 60.0
    now[0] = 59.0
    assert not loop.state.due
    now[0] = 60.0
    assert loop.state.due
    loop.step(0)
    loop.state.save({})
    assert not loop.state.due
