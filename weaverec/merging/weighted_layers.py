"""Linear layers that multiply by W0 + sum_i w_i dW_i, differentiable in the weights w.

Automatic differentiation through the merged weights W computes dL/dW of each layer, a product as large as the layer's
own, to sum it against each dW_i. With dW_i = B_i A_i, the same derivative follows from two narrow products, summed over
the rows (tokens) x of the layer's input and the gradients g of its output:

    dL/dw_i = <dL/dW, B_i A_i> = sum over rows of (B_i^T g) . (A_i x).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from weaverec.merging.task_vectors import LowRank, stacked_factors


class WeightedLinear(nn.Module):
    """A linear layer plus a weighted sum of task vectors.

    Args:
        base: the layer.
        vectors: n task vectors.
        name: of the layer's weight in them.

    Attributes:
        base: the layer.
        weights: float32 [n], of the task vectors; all 0 until they are set.
    """

    def __init__(self, base: nn.Linear, vectors: Sequence[LowRank], name: str) -> None:
        super().__init__()
        device = base.weight.device
        b, a = stacked_factors(vectors, name, [1.0] * len(vectors))
        if (len(b), a.shape[1]) != base.weight.shape:
            shape, expected = list(base.weight.shape), [len(b), a.shape[1]]
            raise ValueError(f"the model's {name} is of shape {shape}, the task vectors' of {expected}")
        self.base = base
        self.weights = torch.zeros(len(vectors), device=device)
        self._b, self._a = b.to(device), a.to(device)
        self._ranks = torch.tensor([len(vector.factors[name][1]) for vector in vectors], device=device)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The layer's output, [..., d_out] from [..., d_in]."""
        scales = self.weights.repeat_interleave(self._ranks, output_size=len(self._a))
        output: torch.Tensor = _WeightedProduct.apply(  # type: ignore[no-untyped-call]
            x, self.base.weight, self.base.bias, self._b, self._a, scales
        )
        return output


class _WeightedProduct(torch.autograd.Function):
    """y = x (W + B diag(s) A)^T + bias, with gradients for x and for the scales s, one for each column of B."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        b: torch.Tensor,
        a: torch.Tensor,
        scales: torch.Tensor,
    ) -> torch.Tensor:
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        with torch.autocast(kind, enabled=False):  # the sum in the precision of B and A
            total = torch.addmm(weight.to(b.dtype), b * scales, a).to(dtype)
        x = x.to(dtype)
        ctx.save_for_backward(x, total, b, a)
        return F.linear(x, total, None if bias is None else bias.to(dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, total, b, a = ctx.saved_tensors
        of_output = gradients[0].to(x.dtype).flatten(0, -2)
        of_x = (of_output @ total).view(x.shape) if ctx.needs_input_grad[0] else None
        of_scales = None
        if ctx.needs_input_grad[5]:
            narrow = of_output @ b.to(x.dtype), F.linear(x.flatten(0, -2), a.to(x.dtype))
            of_scales = (narrow[0].to(b.dtype) * narrow[1].to(b.dtype)).sum(0)
        return of_x, None, None, None, None, of_scales


@contextmanager
def weighted_layers(model: nn.Module, vectors: Sequence[LowRank]) -> Iterator[Mapping[str, WeightedLinear]]:
    """Replace a model's linear layers by weighted ones for the length of the context.

    Args:
        model: the base model.
        vectors: task vectors over the same layers.

    Yields:
        The weighted layers by the names of their weights.

    Raises:
        ValueError: the vectors are over different layers, or the model lacks a linear layer, or has it in another
            shape.
    """
    if any(vector.keys() != vectors[0].keys() for vector in vectors):
        raise ValueError("task vectors are over different layers")
    linear = {f"{name}.weight": module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    missing = sorted(vectors[0].keys() - linear.keys())
    if missing:
        raise ValueError(f"the model has no linear layer with the weight {missing[0]}")
    layers = {name: WeightedLinear(linear[name], vectors, name) for name in vectors[0]}
    try:
        for name, layer in layers.items():
            model.set_submodule(name.removesuffix(".weight"), layer)
        yield layers
    finally:
        for name, layer in layers.items():
            model.set_submodule(name.removesuffix(".weight"), layer.base)
