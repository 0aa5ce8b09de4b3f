"""Merged weights as dense sums of task vectors, differentiable in the merge weights by automatic differentiation."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from weaverec.merging.task_vectors import TaskVector


class DenselyMerged(nn.Module):
    """A model that computes with W0 + sum_i w_i dW_i.

    Args:
        model: the base model.
        vectors: n task vectors.
        weights: float32 [n_layers, n], of the task vectors in each of their layers.
    """

    def __init__(self, model: nn.Module, vectors: Sequence[TaskVector], weights: torch.Tensor) -> None:
        super().__init__()
        self.model, self.config = model, model.config
        base = dict(model.named_parameters())
        self.merged = {
            name: base[name] + torch.einsum("i,ijk->jk", row, torch.stack([vector[name] for vector in vectors]))
            for name, row in zip(vectors[0], weights, strict=True)
        }

    def forward(self, **inputs: torch.Tensor) -> Any:
        return torch.func.functional_call(self.model, self.merged, (), inputs)
