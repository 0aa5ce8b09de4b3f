"""What a method trains: named by all that decides it, made once, shared by every run that needs it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness.training.checkpoint import Checkpoint
from harness.training.distributed import SINGLE_PROCESS, ProcessGroup
from harness.training.record import TrainingRecord

#: Told how far a training is: (steps done, steps at most).
StepCallback = Callable[[int, int], None]


def no_progress(done: int, total: int) -> None:
    """A callback that does nothing."""


@dataclass(frozen=True)
class TrainingEstimate:
    """What a training will take, told before it starts; within a factor of two or so.

    Attributes:
        tokens: that go through the model, forwards and backwards.
        flops: floating-point operations.
        memory_gb: of 10^9 bytes, at the peak.
    """

    tokens: float
    flops: float
    memory_gb: float


@dataclass(frozen=True)
class MakeContext:
    """What making an artefact is given beside its folder.

    Attributes:
        device: `cpu` or `cuda`.
        report: told how far it is.
        checkpoint: from which a training that was killed may go on, and where it may leave what it needs to.
        processes: the processes that make it; several only of what says `shared`.
    """

    device: str
    report: StepCallback
    checkpoint: Checkpoint
    processes: ProcessGroup = SINGLE_PROCESS


@dataclass(frozen=True)
class Artefact:
    """Something trained, named by what goes into it; made once, shared by all that need it.

    Attributes:
        kind: folder name in the store, such as `lora`.
        label: what it is, for people: `LoRA on comedy + drama, seed 0`.
        inputs: all that decides the content: data fingerprints, settings, budget, seed (JSON values).
        make: writes the files into an empty folder and says what it did. Its code, and all first-party code that it
            depends on, is part of the artefact's key; see `harness.storage.code_identity`.
        estimate: says what `make` will take, without making anything; None where nobody can tell.
        shared: whether several processes can make it together.
        depends_on: more code that decides the content, as `module` or `module:name`: what `make` finds by a name in a
            string, so that following imports does not show it.
        made_from: other artefacts that it is made from: their keys are part of its key.
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
    """Where a method gets what was trained."""

    def get_or_train(self, artefact: Artefact) -> Path:
        """The folder with the artefact's files; trains it first if it was never trained."""
        ...
