"""A LoRA layer that multiplies by the sum of its weights, W + (alpha / r) B A, instead of by W, A and B in turn.

Adding B A to W costs little, and saves two narrow products in the forward pass and two in the backward pass. On a CPU,
those take far more time than their operations suggest.
"""

from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear
from torch import nn


class FusedLora(Linear):  # type: ignore[misc] # PEFT has no types
    """PEFT's LoRA layer; computes the same, for a single adapter without dropout, in fewer products."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The layer's output, [..., out] from [..., in]."""
        adapter, *others = self.active_adapters
        special = self.disable_adapters or self.merged or others or args or kwargs
        # Elsewhere narrow products cost little, and a copy of the weights costs memory.
        if special or x.device.type != "cpu" or not isinstance(self.lora_dropout[adapter], nn.Identity):
            output: torch.Tensor = super().forward(x, *args, **kwargs)
            return output
        base: Any = self.base_layer
        a, b = self.lora_A[adapter].weight, self.lora_B[adapter].weight
        fused: torch.Tensor = _FusedLora.apply(x, base.weight, base.bias, a, b, self.scaling[adapter])  # type: ignore[no-untyped-call]
        return fused


class _FusedLora(torch.autograd.Function):
    """y = x (W + s B A)ᵀ + bias, with gradients for x, A and B."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        with torch.autocast(kind, enabled=False):  # the sum in float32
            total = torch.addmm(weight.to(a.dtype), b, a, alpha=scaling).to(dtype)
        x = x.to(dtype)
        ctx.save_for_backward(x, total, a, b)
        ctx.scaling = scaling
        return F.linear(x, total, None if bias is None else bias.to(dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, total, a, b = ctx.saved_tensors
        out = gradients[0].to(x.dtype).flatten(0, -2)
        rows = x.flatten(0, -2)
        of_x = (out @ total).view(x.shape) if ctx.needs_input_grad[0] else None
        of_a = ctx.scaling * ((out @ b.to(x.dtype)).T @ rows).to(a.dtype)
        of_b = ctx.scaling * (out.T @ (rows @ a.to(x.dtype).T)).to(b.dtype)
        return of_x, None, None, of_a, of_b, None
