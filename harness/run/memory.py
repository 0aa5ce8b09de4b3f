"""Peak memory of this process and its GPU while a block runs."""

import threading
from types import TracebackType
from typing import Self

import psutil


class PeakMemory:
    """Samples the process's resident memory until the block ends.

    The operating system's own peak covers the process's whole life, in which a worker does many tasks.
    """

    def __init__(self, device: str = "cpu", every_s: float = 0.1) -> None:
        self._device, self._every_s = device, every_s
        self._process = psutil.Process()
        self._done = threading.Event()
        self._peak, self._gpu_peak = 0, 0
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        if self._device != "cpu":
            import torch

            torch.cuda.reset_peak_memory_stats()
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def megabytes(self) -> float:
        """Peak resident memory so far, in MB of 10^6 bytes."""
        self._sample()
        return round(self._peak / 1e6, 1)

    def gpu_megabytes(self) -> float | None:
        """Peak GPU memory of torch so far, in MB of 10^6 bytes; None on a CPU."""
        self._sample()
        return None if self._device == "cpu" else round(self._gpu_peak / 1e6, 1)

    def _sample(self) -> None:
        self._peak = max(self._peak, self._process.memory_info().rss)
        if self._device != "cpu":
            import torch

            # Sampled repeatedly, as a block inside this one resets torch's counter.
            self._gpu_peak = max(self._gpu_peak, torch.cuda.max_memory_allocated())

    def _watch(self) -> None:
        while not self._done.wait(self._every_s):
            self._sample()
