"""One training in several processes, as `accelerate launch` starts them: who does what, and how it is put together.

Each process computes its share of what a step needs and takes the others' as given. The shares' gradients add up to
those of the whole step, so a training comes to what it would come to in one process, but for the order of sums, and
every process holds the same weights after each step.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from harness.data.domain import Ints

if TYPE_CHECKING:
    import torch

#: How long a process waits for the slowest of the others.
_PATIENCE = timedelta(hours=2)


@dataclass(frozen=True)
class Together:
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
        import torch

        if not self.main:
            torch.distributed.barrier()
        yield
        if self.main and self.count > 1:
            torch.distributed.barrier()

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

    def add_gradients(self, weights: "Iterable[torch.nn.Parameter]") -> None:
        """Adds up the processes' gradients; a weight without one, in all of them, gets zeros."""
        import torch

        if self.count == 1:
            return
        for weight in weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
            torch.distributed.all_reduce(weight.grad)

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
ALONE = Together()


def launched() -> bool:
    """Whether `accelerate launch` or `torchrun` started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def together(device: str) -> Iterator[Together]:
    """This process among those it was started with, or alone; each takes its own GPU.

    Args:
        device: `cpu` or `cuda`.
    """
    if not launched():
        yield ALONE
        return
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu", timeout=_PATIENCE)
    try:
        yield Together(state.process_index, state.num_processes)
        state.wait_for_everyone()
    finally:
        state.destroy_process_group()
