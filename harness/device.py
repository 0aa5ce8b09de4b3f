"""What the device can do."""

import torch


def has_bfloat16(device: str) -> bool:
    """Whether a device (`cpu`, `cuda`) computes in bfloat16 in hardware: emulated, it takes many times as long."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
