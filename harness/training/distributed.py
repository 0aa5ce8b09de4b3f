"""Data-parallel training under accelerate or torchrun.

Each process computes its share of a step; the gradients of the shares add up to those of the whole step. Data, steps
and weights are the same as in one process, up to the order of sums.
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

#: How long a process waits for the slowest one.
_TIMEOUT = timedelta(hours=2)


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of a training, as seen by one of them.

    Attributes:
        rank: of this process, from 0.
        count: number of processes.
    """

    rank: int = 0
    count: int = 1

    @property
    def main(self) -> bool:
        """Whether this is the process that writes files and reports progress."""
        return self.rank == 0

    def share(self, n: int) -> Ints:
        """Indices of the items, out of n, that this process computes: int64, ascending; may be empty."""
        return np.arange(self.rank, n, self.count, dtype=np.int64)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Run the block in the main process first, then in all others, which can use its results."""
        if not self.main:
            self.total(0.0)
        yield
        if self.main:
            self.total(0.0)

    def from_main(self, function: Callable[[], T]) -> T:
        """Call a function in the main process only, and return its result in every process."""
        if self.count == 1:
            return function()
        import torch

        results = [function() if self.main else None]
        torch.distributed.broadcast_object_list(results, src=0)
        result: T = results[0]  # type: ignore[assignment]
        return result

    def joined(self, rows: "torch.Tensor", indices: Ints, n: int) -> "torch.Tensor":
        """Join the rows of all processes to one table.

        Args:
            rows: float [k, d], the rows of this process.
            indices: int64 [k], their indices in the table; each index belongs to one process.
            n: rows of the table.

        Returns:
            [n, d]; gradients flow into the rows of this process only.
        """
        import torch

        if self.count == 1:
            return rows[torch.from_numpy(indices.argsort()).to(rows.device)]
        index = torch.from_numpy(indices).to(rows.device)
        table = rows.new_zeros(n, rows.shape[1]).index_copy_(0, index, rows.detach())
        torch.distributed.all_reduce(table)
        return table.index_copy(0, index, rows)

    def add_gradients(self, weights: "Sequence[torch.nn.Parameter]") -> None:
        """Sum the processes' gradients; a weight without a gradient in any process gets zeros."""
        import torch

        if self.count == 1:
            return
        gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(flat)
        for weight, part in zip(weights, flat.split([weight.numel() for weight in weights]), strict=True):
            weight.grad = part.view_as(weight)

    def total(self, value: float) -> float:
        """The sum of the processes' values, the same in each of them."""
        if self.count == 1:
            return value
        import torch

        # NCCL can send tensors on a GPU only.
        device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
        total = torch.tensor([value], dtype=torch.float64, device=device)
        torch.distributed.all_reduce(total)
        return float(total)


#: Training in one process.
SINGLE_PROCESS = ProcessGroup()


def launched() -> bool:
    """Whether this process is one of several that `accelerate launch` or `torchrun` started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def process_group(device: str) -> Iterator[ProcessGroup]:
    """Join the processes that this one was started with, if any; each uses its own GPU.

    Args:
        device: `cpu` or `cuda`.

    Raises:
        HarnessError: this machine has fewer GPUs than processes.
    """
    if not launched():
        yield SINGLE_PROCESS
        return
    import torch
    from accelerate import PartialState

    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device == "cuda" and local > torch.cuda.device_count():
        raise HarnessError(
            f"{local} processes were started, but there are {torch.cuda.device_count()} GPUs.",
            f"Start {torch.cuda.device_count()} processes (--num_processes), or use --device cpu.",
        )
    state = PartialState(cpu=device == "cpu", timeout=_TIMEOUT)
    processes = ProcessGroup(state.process_index, state.num_processes)
    yield processes
    # Not after an error: the other processes may never arrive, and the launcher stops them.
    processes.total(0.0)
    state.destroy_process_group()
