"""Task vectors of LoRA components, their weighted sum, and folding it into the base model.

A component holds, per adapted linear layer, A [r, d_in] and B [d_out, r]; its task vector is
dW = scaling * B A, with scaling = alpha / r. WeaveRec (arXiv 2510.26546) serves W0 + sum_i lambda_i dW_i. The sum
is over dW: averaging the As and the Bs apart leaves the cross terms B_i A_j, which belong to no component.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from harness.errors import HarnessError

#: Weight name in the base model -> dW, float32 [d_out, d_in].
TaskVector = Mapping[str, torch.Tensor]

_PREFIX = "base_model.model."


def task_vector(folder: Path) -> TaskVector:
    """The task vector of a component in PEFT's format (adapter_config.json, adapter_model.safetensors).

    Raises:
        HarnessError: a file is missing or unreadable, or the adapter is more than plain LoRA, so that B A does
            not say what it does.
    """
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "adapter_model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise HarnessError(f"Component {folder} cannot be read: {error}.", "Train it again.") from error
    beyond = [
        name
        for name in (
            "use_dora",
            "modules_to_save",
            "rank_pattern",
            "alpha_pattern",
            "fan_in_fan_out",
            "lora_bias",
        )
        if config.get(name)
    ]
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none" or beyond:
        raise HarnessError(
            f"Component {folder} is not a plain LoRA ({', '.join(beyond) or 'type or bias'}).",
            "Train it without these options: its task vector would not be B A.",
        )
    rank = config["r"]
    scaling = config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank)
    deltas = {}
    for name, a in tensors.items():
        if name.endswith(".lora_A.weight"):
            layer = name.removesuffix(".lora_A.weight")
            b = tensors[f"{layer}.lora_B.weight"]
            deltas[f"{layer.removeprefix(_PREFIX)}.weight"] = scaling * (b.float() @ a.float())
    if 2 * len(deltas) != len(tensors):
        raise HarnessError(f"Component {folder} holds tensors that are no LoRA pair.", "Train it again.")
    return deltas


def weighted_sum(vectors: Sequence[TaskVector], weights: Sequence[float]) -> TaskVector:
    """sum_i weights_i * dW_i, layer by layer, in float32.

    Raises:
        ValueError: not one weight a vector, or vectors over different layers.
    """
    if len(vectors) != len(weights) or not vectors:
        raise ValueError(f"{len(vectors)} task vectors, {len(weights)} weights")
    if any(vector.keys() != vectors[0].keys() for vector in vectors):
        raise ValueError("task vectors are over different layers")
    return {
        name: torch.stack([weight * vector[name] for vector, weight in zip(vectors, weights, strict=True)]).sum(0)
        for name in vectors[0]
    }


def fold(model: nn.Module, delta: TaskVector) -> nn.Module:
    """Adds a task vector to a model's weights, in place: the shape and the cost stay the base's.

    The sum is made in float32 and rounded to the weights' own precision once.

    Raises:
        ValueError: the model lacks a layer, or has it in another shape.
    """
    with torch.no_grad():
        for weight, change in _layers(model, delta):
            weight.copy_(weight.float() + change.to(weight.device))
    return model


@contextmanager
def folded(model: nn.Module, delta: TaskVector) -> Iterator[nn.Module]:
    """A model with a task vector folded in; afterwards its weights are, bit by bit, what they were.

    Raises:
        ValueError: as `fold`.
    """
    before = [(weight, weight.detach().clone()) for weight, _ in _layers(model, delta)]
    try:
        yield fold(model, delta)
    finally:
        with torch.no_grad():
            for weight, old in before:
                weight.copy_(old)


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Writes a model and its tokenizer as a plain Hugging Face folder, weights as safetensors.

    `AutoModel.from_pretrained` loads it anywhere, and needs neither PEFT nor this package.
    """
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _layers(model: nn.Module, delta: TaskVector) -> list[tuple[nn.Parameter, torch.Tensor]]:
    parameters = dict(model.named_parameters())
    # A component of hidden states (AutoModel) folds into a model that writes too (AutoModelForCausalLM).
    prefix = "" if all(name in parameters for name in delta) else f"{getattr(model, 'base_model_prefix', '')}."
    found = []
    for name, change in delta.items():
        weight = parameters.get(prefix + name)
        if weight is None or weight.shape != change.shape:
            raise ValueError(f"the model has no {name} of shape {list(change.shape)}")
        found.append((weight, change))
    return found
