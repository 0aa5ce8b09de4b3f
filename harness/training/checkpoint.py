"""Checkpoint of an interrupted training run, written atomically."""

import hashlib
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.storage.files import canonical_json, write_atomically
from harness.storage.locks import Tell, tell_stderr
from harness.training.distributed import SINGLE_PROCESS, ProcessGroup
from harness.training.early_stopping import EarlyStopping

if TYPE_CHECKING:
    import torch

#: Keys of the training time so far, in seconds of wall clock and of CPU, among a checkpoint's notes.
_WALL, _CPU = "wall_s", "cpu_s"


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


@dataclass(frozen=True)
class Checkpoint:
    """A file of three parts: the SHA-256 (hex) of the rest, a line; JSON notes, a line; tensors, in safetensors.

    Its name contains the key of the trained artefact, and so the data, settings, code and packages: a training is never
    resumed from the state of another one.

    Attributes:
        path: of the file, which exists if a training was interrupted.
        since: start of this process's work, by `time.perf_counter` and `time.process_time`.
        tell: called with a line if the file is corrupt and the training starts from scratch.
    """

    path: Path
    since: tuple[float, float] = field(default_factory=_now, compare=False)
    tell: Tell = field(default=tell_stderr, compare=False)

    @cached_property
    def spent_before(self) -> tuple[float, float]:
        """Seconds of training in earlier processes, of wall clock and of CPU; read before this process first writes."""
        content = self.read()
        return (float(content[1][_WALL]), float(content[1][_CPU])) if content else (0.0, 0.0)

    @property
    def spent(self) -> dict[str, float]:
        """Seconds of training in this process and, as far as their work was saved, in earlier ones.

        `wall_s` by the clock, `cpu_s` of all threads of the process.
        """
        (wall, cpu), (wall_before, cpu_before), since = _now(), self.spent_before, self.since
        return {_WALL: wall_before + wall - since[0], _CPU: cpu_before + cpu - since[1]}

    def read(self) -> "tuple[dict[str, torch.Tensor], dict[str, Any]] | None":
        """Read tensors and notes; None if there is no file, or if it is corrupt, which is reported."""
        if not self.path.exists():
            return None
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            sha256, _, content = self.path.read_bytes().partition(b"\n")
            if hashlib.sha256(content).hexdigest().encode() != sha256:
                raise ValueError("it has changed")
            notes, _, tensors = content.partition(b"\n")
            return load(tensors), json.loads(notes)
        except (OSError, SafetensorError, ValueError) as error:
            self.tell(f"Corrupt checkpoint {self.path} ({error}): the training starts from scratch.")
            self.remove()
            return None

    def write(self, tensors: "Mapping[str, torch.Tensor]", notes: Mapping[str, Any]) -> None:
        """Replace the file."""
        from safetensors.torch import save

        notes = {**notes, **self.spent}
        cpu_tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        content = canonical_json(notes).encode() + b"\n" + save(cpu_tensors)
        write_atomically(self.path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)

    def remove(self) -> None:
        """Remove the file once the training is finished."""
        self.path.unlink(missing_ok=True)


@dataclass
class TrainingLoopState:
    """The state of a training loop: what it saves to a checkpoint, and restores to resume an interrupted run.

    Attributes:
        checkpoint: the file.
        optimiser: an Adam or AdamW; its moments are saved, its learning rates are not.
        stopping: keeps the best weights.
        weights: returns (copies of) the current weights.
        load_weights: replaces the current weights.
        interval_s: seconds between two saves; see `due`.
        rng: the loop's generator, saved together with the global ones of Python, numpy and torch; None to save none.
        processes: only the main one reads and writes the file.
    """

    checkpoint: Checkpoint
    optimiser: "torch.optim.Optimizer"
    stopping: "EarlyStopping[dict[str, torch.Tensor]]"
    weights: "Callable[[], dict[str, torch.Tensor]]"
    load_weights: "Callable[[dict[str, torch.Tensor]], object]"
    interval_s: float
    rng: np.random.Generator | None = None
    processes: ProcessGroup = SINGLE_PROCESS
    _saved_at: float = field(init=False)

    def __post_init__(self) -> None:
        self._saved_at = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last save, or the start of the training, is at least `interval_s` ago."""
        return time.monotonic() - self._saved_at >= self.interval_s

    def restore(self) -> dict[str, Any] | None:
        """Resume an interrupted run: restore weights, optimiser, early stopping and generators.

        Returns:
            The progress that was saved with them; None if there is nothing to resume.
        """
        content = self.processes.from_main(self.checkpoint.read)
        if content is None:
            return None
        tensors, notes = content
        weights, best = restore_training(tensors, self.optimiser)
        self.load_weights(weights)
        if notes["validation"]:
            self.stopping.restore(notes["validation"], notes["best_step"], best)
        if self.rng is not None:
            restore_random_state(self.rng, tensors, notes["random"])
        return dict(notes["progress"])

    def save(self, progress: Mapping[str, Any]) -> None:
        """Save the state.

        Args:
            progress: how far the loop is, as JSON values.
        """
        self._saved_at = time.monotonic()
        if not self.processes.main:
            return
        tensors = training_state(self.weights(), self.stopping.state, self.optimiser)
        notes = {"progress": progress, "best_step": self.stopping.best_step, "validation": self.stopping.curve}
        if self.rng is not None:
            random_tensors, notes["random"] = random_state(self.rng)
            tensors |= random_tensors
        self.checkpoint.write(tensors, notes)


def random_state(generator: np.random.Generator) -> "tuple[dict[str, torch.Tensor], dict[str, Any]]":
    """The state of a generator and of the global generators of Python, numpy and torch, as tensors and notes."""
    import torch

    tensors = {"random.torch": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    legacy = np.random.get_state(legacy=False)  # noqa: NPY002 - libraries draw from it
    legacy["state"]["key"] = legacy["state"]["key"].tolist()
    return tensors, {"python": random.getstate(), "numpy": legacy, "generator": generator.bit_generator.state}


def restore_random_state(
    generator: np.random.Generator, tensors: "Mapping[str, torch.Tensor]", notes: Mapping[str, Any]
) -> None:
    """Restore the generators to a state from `random_state`."""
    import torch

    torch.set_rng_state(tensors["random.torch"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])
    legacy = notes["numpy"]
    key = np.array(legacy["state"]["key"], dtype=np.uint32)
    np.random.set_state({**legacy, "state": {**legacy["state"], "key": key}})  # noqa: NPY002
    version, words, gauss = notes["python"]
    random.setstate((version, tuple(words), gauss))
    generator.bit_generator.state = notes["generator"]


def training_state(
    weights: "Mapping[str, torch.Tensor]",
    best_weights: "Mapping[str, torch.Tensor] | None",
    optimiser: "torch.optim.Optimizer",
) -> "dict[str, torch.Tensor]":
    """Current weights, best weights so far, and the moments of an Adam optimiser, in one dict of tensors."""
    return {
        **_prefixed("now.", weights),
        **_prefixed("best.", best_weights or {}),
        **_prefixed("optimiser.", _optimiser_state(optimiser)),
    }


def restore_training(
    tensors: "Mapping[str, torch.Tensor]", optimiser: "torch.optim.Optimizer"
) -> "tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]":
    """Restore an optimiser's moments (not its learning rates); returns current and best weights."""
    _restore_optimiser(optimiser, _with_prefix(tensors, "optimiser."))
    return _with_prefix(tensors, "now."), _with_prefix(tensors, "best.")


def _optimiser_state(optimiser: "torch.optim.Optimizer") -> "dict[str, torch.Tensor]":
    states = optimiser.state_dict()["state"]
    return {f"{index}.{name}": value for index, state in states.items() for name, value in state.items()}


def _restore_optimiser(optimiser: "torch.optim.Optimizer", tensors: "Mapping[str, torch.Tensor]") -> None:
    states: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        states.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": states, "param_groups": optimiser.state_dict()["param_groups"]})


def _prefixed(prefix: str, tensors: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def _with_prefix(tensors: "Mapping[str, torch.Tensor]", prefix: str) -> "dict[str, torch.Tensor]":
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
