"""What the device can do."""

import time

from harness.errors import HarnessError


def has_bfloat16(device: str) -> bool:
    """Whether a device (`cpu`, `cuda`) computes in bfloat16 in hardware: emulated, it takes many times as long."""
    import torch  # not at the top: the command line answers --help without it

    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def flops_per_second(device: str, size: int = 2048) -> float:
    """Operations a second of the device's own matrix products, in the precision that trainings use; takes a moment."""
    import torch

    precision = torch.bfloat16 if has_bfloat16(device) else torch.float32
    a, b = (torch.ones(size, size, dtype=precision, device=device) for _ in range(2))
    torch.mm(a, b).sum().item()
    started, products = time.perf_counter(), 0
    while time.perf_counter() - started < 0.5:
        torch.mm(a, b)[0, 0].item()
        products += 1
    return products * 2 * size**3 / (time.perf_counter() - started)


def pick_device(asked: str) -> str:
    """`cpu` or `cuda`, as asked or as there is.

    Raises:
        HarnessError: neither of them, or there is no GPU.
    """
    if asked not in ("auto", "cpu", "cuda"):
        raise HarnessError.unknown("device", asked, ["auto", "cpu", "cuda"])
    if asked == "cpu":
        return asked
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if asked == "cuda":
        raise HarnessError("--device cuda: PyTorch sees no GPU.", "Use --device cpu, or a CUDA build of PyTorch.")
    return "cpu"
