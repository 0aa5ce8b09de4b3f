"""One training in several processes, as `accelerate launch` starts them: who does what, and how it is put together.

Each process computes its share of what a step needs and takes the others' as given. The shares' gradients add up to
those of the whole step: the same data and the same steps as in one process, but for the order of sums, and the same
weights in every process.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from harness.data.domain import Ints
from harness.errors import HarnessError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

#: How long a process waits for the slowest of the others.
_PATIENCE = timedelta(hours=2)


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of a training, seen from one of them.

    Attributes:
        rank: which this one is, from 0.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def main(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def share(self, n: int) -> Ints:
        """Which of n things this process computes: int64, rising; none, if there are more processes than things."""
        return np.arange(self.rank, n, self.count, dtype=np.int64)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The main process goes through the block first, then all others: they find what it made."""
        if not self.main:
            self.total(0.0)
        yield
        if self.main:
            self.total(0.0)

    def from_main(self, find: Callable[[], T]) -> T:
        """What the main process finds, in every process; the others do not look."""
        if self.count == 1:
            return find()
        import torch

        box = [find() if self.main else None]
        torch.distributed.broadcast_object_list(box, src=0)
        found: T = box[0]  # type: ignore[assignment]
        return found

    def joined(self, own: "torch.Tensor", places: Ints, n: int) -> "torch.Tensor":
        """All rows of a table of which each process has some.

        Args:
            own: float [k, d], this process's rows.
            places: int64 [k], where they stand; every place is one process's.
            n: rows of the table.

        Returns:
            [n, d]; gradients flow into this process's own rows alone.
        """
        import torch

        if self.count == 1:
            return own[torch.from_numpy(places.argsort()).to(own.device)]
        at = torch.from_numpy(places).to(own.device)
        whole = own.new_zeros(n, own.shape[1]).index_copy_(0, at, own.detach())
        torch.distributed.all_reduce(whole)
        return whole.index_copy(0, at, own)

    def add_gradients(self, weights: "Sequence[torch.nn.Parameter]") -> None:
        """Adds up the processes' gradients; a weight that no process has one for gets zeros."""
        import torch

        if self.count == 1:
            return
        own = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
        flat = torch.cat([gradient.flatten() for gradient in own])
        torch.distributed.all_reduce(flat)
        for weight, part in zip(weights, flat.split([weight.numel() for weight in weights]), strict=True):
            weight.grad = part.view_as(weight)

    def total(self, value: float) -> float:
        """The sum of the processes' values, the same in each of them."""
        if self.count == 1:
            return value
        import torch

        # On the device whose tensors the processes' backend can send.
        device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
        whole = torch.tensor([value], dtype=torch.float64, device=device)
        torch.distributed.all_reduce(whole)
        return float(whole)


#: One process by itself.
SINGLE_PROCESS = ProcessGroup()


def launched() -> bool:
    """Whether `accelerate launch` or `torchrun` started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def process_group(device: str) -> Iterator[ProcessGroup]:
    """This process among those it was started with, or alone; each takes its own GPU.

    Args:
        device: `cpu` or `cuda`.

    Raises:
        HarnessError: there are fewer GPUs on this machine than processes.
    """
    if not launched():
        yield SINGLE_PROCESS
        return
    import torch
    from accelerate import PartialState

    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device == "cuda" and local > torch.cuda.device_count():
        raise HarnessError(
            f"{local} processes were started, and there are {torch.cuda.device_count()} GPUs.",
            f"Start {torch.cuda.device_count()} processes (--num_processes), or use --device cpu.",
        )
    state = PartialState(cpu=device == "cpu", timeout=_PATIENCE)
    processes = ProcessGroup(state.process_index, state.num_processes)
    yield processes
    # After an error nobody waits: the others may never come, and who started them stops them.
    processes.total(0.0)
    state.destroy_process_group()
