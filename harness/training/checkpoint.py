"""What a training that was killed goes on from: one file, written whole or not at all."""

import hashlib
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.storage.files import canonical_json, write_atomically
from harness.storage.locks import Tell, tell_stderr

if TYPE_CHECKING:
    import torch


#: Among a checkpoint's notes: how long the training took so far.
_SPENT = "spent_s"


@dataclass(frozen=True)
class Checkpoint:
    """A file of three parts: the SHA-256 (hex) of the rest, a line; JSON notes, a line; tensors, in safetensors.

    It is named by the key of what is trained, and so by data, settings, code and packages: a training never goes on
    from another's state.

    Attributes:
        path: where the file is, if a training was cut off.
        since: when this process began, by `time.perf_counter`.
        tell: told if the file is corrupt, and the training starts anew.
    """

    path: Path
    since: float = field(default_factory=time.perf_counter, compare=False)
    tell: Tell = field(default=tell_stderr, compare=False)

    @cached_property
    def spent_before(self) -> float:
        """Seconds that went into what was kept before this process began; asked for before it first writes."""
        kept = self.read()
        return float(kept[1].get(_SPENT, 0.0)) if kept else 0.0

    @property
    def spent(self) -> float:
        """Seconds of this process, and of those before it as far as their work was kept."""
        return self.spent_before + time.perf_counter() - self.since

    def read(self) -> "tuple[dict[str, torch.Tensor], dict[str, Any]] | None":
        """Tensors and notes; None where nothing was cut off, or the file is corrupt, which is told."""
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
            self.tell(f"Corrupt checkpoint {self.path} ({error}): the training starts anew.")
            self.remove()
            return None

    def write(self, tensors: "Mapping[str, torch.Tensor]", notes: Mapping[str, Any]) -> None:
        """Replaces the file."""
        from safetensors.torch import save

        notes = {**notes, _SPENT: self.spent}
        own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        content = canonical_json(notes).encode() + b"\n" + save(own)
        write_atomically(self.path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)

    def remove(self) -> None:
        """Removes the file: the training is done."""
        self.path.unlink(missing_ok=True)


def random_state(generator: np.random.Generator) -> "tuple[dict[str, torch.Tensor], dict[str, Any]]":
    """Where Python's, numpy's and torch's global generators stand, and one of numpy's new kind: tensors and notes."""
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
    """Puts the generators back where `random_state` found them."""
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
    now: "Mapping[str, torch.Tensor]",
    best: "Mapping[str, torch.Tensor] | None",
    optimiser: "torch.optim.Optimizer",
) -> "dict[str, torch.Tensor]":
    """A training's weights, its best weights so far, and what its optimiser (of Adam's kind) remembers of each."""
    return {
        **_prefixed("now.", now),
        **_prefixed("best.", best or {}),
        **_prefixed("optimiser.", _optimiser_state(optimiser)),
    }


def restore_training(
    tensors: "Mapping[str, torch.Tensor]", optimiser: "torch.optim.Optimizer"
) -> "tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]":
    """Gives an optimiser its memory back (its rates stay as they are); returns the weights, and the best ones."""
    _restore_optimiser(optimiser, _part_of(tensors, "optimiser."))
    return _part_of(tensors, "now."), _part_of(tensors, "best.")


def _optimiser_state(optimiser: "torch.optim.Optimizer") -> "dict[str, torch.Tensor]":
    remembered = optimiser.state_dict()["state"]
    return {f"{place}.{name}": value for place, own in remembered.items() for name, value in own.items()}


def _restore_optimiser(optimiser: "torch.optim.Optimizer", tensors: "Mapping[str, torch.Tensor]") -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        place, _, name = key.partition(".")
        state.setdefault(int(place), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _prefixed(prefix: str, tensors: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def _part_of(tensors: "Mapping[str, torch.Tensor]", prefix: str) -> "dict[str, torch.Tensor]":
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
