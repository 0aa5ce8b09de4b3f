"""Artefacts: what methods train. Each is named by its inputs, trained once, and shared by all runs that need it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness.training.checkpoint import Checkpoint
from harness.training.distributed import SINGLE_PROCESS, ProcessGroup
from harness.training.record import TrainingRecord

#: Progress callback: (steps done, maximum number of steps).
StepCallback = Callable[[int, int], None]


def no_progress(done: int, total: int) -> None:
    """A callback that does nothing."""


@dataclass(frozen=True)
class TrainingEstimate:
    """What a training will take, to within a factor of two or so.

    Attributes:
        tokens: tokens in forward and backward passes.
        flops: floating-point operations.
        memory_gb: peak memory, in units of 10^9 bytes.
    """

    tokens: float
    flops: float
    memory_gb: float


@dataclass(frozen=True)
class MakeContext:
    """Arguments of making an artefact besides its folder.

    Attributes:
        device: `cpu` or `cuda`.
        report: progress callback.
        checkpoint: where an interrupted training saves its state and resumes from.
        processes: the processes that train; more than one only for an artefact that is `shared`.
    """

    device: str
    report: StepCallback
    checkpoint: Checkpoint
    processes: ProcessGroup = SINGLE_PROCESS


@dataclass(frozen=True)
class Artefact:
    """Something trained, such as the weights of a model.

    Attributes:
        kind: folder name in the store, such as `lora`.
        label: description for people: `LoRA on comedy + drama, seed 0`.
        inputs: everything that decides the content: data fingerprints, settings, budget, seed (JSON values).
        make: trains, writes the files into an empty folder and returns a record. Its code, and all first-party code
            that it depends on, is part of the artefact's key; see `harness.storage.code_identity`.
        estimate: estimates what `make` will take, without training; None if it is unknown.
        shared: whether several processes can train it together.
        depends_on: more code that decides the content, as `module` or `module:name`: code that `make` finds by a name
            in a string, which following imports does not show.
        made_from: other artefacts that it is made from; their keys are part of its key.
    """

    kind: str
    label: str
    inputs: Mapping[str, Any]
    make: Callable[[Path, MakeContext], TrainingRecord]
    estimate: Callable[[], TrainingEstimate] | None = None
    shared: bool = False
    depends_on: tuple[str, ...] = ()
    made_from: tuple["Artefact", ...] = ()


class Artefacts(Protocol):
    """Trains artefacts, or finds them where they were trained before."""

    def get_or_train(self, artefact: Artefact) -> Path:
        """The folder with the artefact's files. Trains it first if it was never trained."""
        ...
