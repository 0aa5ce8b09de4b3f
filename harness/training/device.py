"""Choose a device and query its capabilities."""

import time

from harness.errors import HarnessError


def has_bfloat16(device: str) -> bool:
    """Whether a device (`cpu`, `cuda`) supports bfloat16 in hardware; emulation is many times slower."""
    import torch  # not at the top, so that --help need not load it

    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def flops_per_second(device: str, size: int = 2048) -> float:
    """Measure a device's floating-point operations per second in matrix products; takes about half a second.

    Args:
        device: `cpu` or `cuda`.
        size: rows and columns of the matrices.
    """
    import torch

    precision = torch.bfloat16 if has_bfloat16(device) else torch.float32
    a, b = (torch.ones(size, size, dtype=precision, device=device) for _ in range(2))
    torch.mm(a, b).sum().item()
    started, products = time.perf_counter(), 0
    while time.perf_counter() - started < 0.5:
        torch.mm(a, b)[0, 0].item()
        products += 1
    return products * 2 * size**3 / (time.perf_counter() - started)


def pick_device(device: str) -> str:
    """Resolve `auto` to `cuda` or `cpu`.

    Raises:
        HarnessError: an unknown device, or `cuda` without a GPU.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise HarnessError.unknown("device", device, ["auto", "cpu", "cuda"])
    if device == "cpu":
        return device
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise HarnessError("--device cuda: PyTorch sees no GPU.", "Use --device cpu, or a CUDA build of PyTorch.")
    return "cpu"
