"""Task vectors of LoRA components, their weighted sum, and folding it into the base model.

A component holds, per adapted linear layer, A [r, d_in] and B [d_out, r]; its task vector is
dW = scaling * B A, with scaling = alpha / r. WeaveRec (arXiv 2510.26546) serves W0 + sum_i lambda_i dW_i. The sum
is over dW: averaging the As and the Bs apart leaves the cross terms B_i A_j, which belong to no component. As a product
it is [lambda_1 B_1, lambda_2 B_2, ...] times [A_1; A_2; ...], of rank sum_i r_i.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
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


def task_vector(folder: Path) -> "LowRank":
    """The task vector of a component in PEFT's format (adapter_config.json, adapter_model.safetensors).

    Raises:
        HarnessError: a file is missing or unreadable, or the adapter is more than plain LoRA, so that its change of
            the weights is not B A.
    """
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "adapter_model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise HarnessError(f"Component {folder} cannot be read: {error}.", "Train it again.") from error
    extensions = [
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
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none" or extensions:
        raise HarnessError(
            f"Component {folder} is not a plain LoRA ({', '.join(extensions) or 'type or bias'}).",
            "Train it without these options: its task vector would not be B A.",
        )
    rank = config["r"]
    scaling = float(config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank))
    names = [name.removesuffix(".lora_A.weight") for name in tensors if name.endswith(".lora_A.weight")]
    if 2 * len(names) != len(tensors) or any(f"{name}.lora_B.weight" not in tensors for name in names):
        raise HarnessError(f"Component {folder} holds tensors that are not a LoRA pair.", "Train it again.")

    return LowRank(
        {
            name.removeprefix(_PREFIX) + ".weight": (
                scaling * tensors[f"{name}.lora_B.weight"].float(),
                tensors[f"{name}.lora_A.weight"].float(),
            )
            for name in names
        }
    )


class LayerByLayer(Mapping[str, torch.Tensor]):
    """A task vector whose layers are computed on access: of a large model, one layer is held in memory at a time.

    Args:
        layers: weight name -> a function that returns dW, float32 [d_out, d_in].
    """

    def __init__(self, layers: Mapping[str, Callable[[], torch.Tensor]]) -> None:
        self._layers = layers

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._layers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)


class LowRank(LayerByLayer):
    """A task vector dW = B A that is kept as its factors.

    Args:
        factors: weight name -> B, float32 [d_out, r], and A, float32 [r, d_in].
    """

    def __init__(self, factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
        super().__init__({name: partial(torch.matmul, b, a) for name, (b, a) in factors.items()})
        self.factors = factors


def weighted_sum(vectors: Sequence[TaskVector], weights: Sequence[float]) -> TaskVector:
    """sum_i weights_i * dW_i, layer by layer, in float32.

    Raises:
        ValueError: the number of weights is not that of the vectors, or the vectors are over different layers.
    """
    if len(vectors) != len(weights) or not vectors:
        raise ValueError(f"{len(vectors)} task vectors, {len(weights)} weights")
    return by_layer(vectors, {name: list(weights) for name in vectors[0]})


def by_layer(vectors: Sequence[TaskVector], weights: Mapping[str, Sequence[float]]) -> TaskVector:
    """sum_i weights[layer]_i * dW_i[layer], in float32.

    Raises:
        ValueError: vectors over different layers.
    """
    if any(vector.keys() != vectors[0].keys() for vector in vectors):
        raise ValueError("task vectors are over different layers")

    low_rank = [vector for vector in vectors if isinstance(vector, LowRank)]
    if len(low_rank) == len(vectors):
        return LowRank({name: stacked_factors(low_rank, name, weights[name]) for name in vectors[0]})

    def summed(name: str) -> torch.Tensor:
        total = torch.zeros(())
        for weight, vector in zip(weights[name], vectors, strict=True):
            total = total + weight * vector[name]
        return total

    return LayerByLayer({name: partial(summed, name) for name in vectors[0]})


def stacked_factors(
    vectors: Sequence[LowRank], name: str, weights: Sequence[float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The factors of a layer's weighted sum.

    Returns:
        [weights_1 B_1, weights_2 B_2, ...], float32 [d_out, sum r_i], and [A_1; A_2; ...], float32 [sum r_i, d_in].
    """
    factors = [vector.factors[name] for vector in vectors]
    b = torch.cat([weight * b for weight, (b, _) in zip(weights, factors, strict=True)], dim=1)
    return b, torch.cat([a for _, a in factors])


def fold(model: nn.Module, delta: TaskVector) -> nn.Module:
    """Add a task vector to a model's weights, in place: W0 + dW has the shape and the cost of W0.

    The sum is computed in float32 and rounded to the weights' own precision once.

    Raises:
        ValueError: the model lacks a layer, or has it in another shape.
    """
    with torch.no_grad():
        for name, weight in _layers(model, delta).items():
            change = delta[name]
            if change.shape != weight.shape:
                raise ValueError(f"the model has no {name} of shape {list(change.shape)}")
            weight.copy_(weight.float() + change.to(weight.device))
    return model


@contextmanager
def folded(model: nn.Module, delta: TaskVector) -> Iterator[nn.Module]:
    """A model with a task vector folded in for the length of the context; then its weights are restored exactly.

    Raises:
        ValueError: as `fold`.
    """
    before = [(weight, weight.detach().clone()) for weight in _layers(model, delta).values()]
    try:
        yield fold(model, delta)
    finally:
        with torch.no_grad():
            for weight, old in before:
                weight.copy_(old)


def save_model(model: Any, tokenizer: Any, folder: Path, base: str, made_of: Sequence[str]) -> None:
    """Write a model and its tokenizer as a plain Hugging Face folder: safetensors, and a model card.

    `AutoModel.from_pretrained` loads it, and needs neither PEFT nor this package.

    Args:
        model: the merged model.
        tokenizer: its tokenizer.
        folder: an empty folder.
        base: name of the base model.
        made_of: what was merged into it.
    """
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    parts = "\n".join(f"- {part}" for part in made_of) or "- nothing: it is the base model as it is"
    card = f"---\nbase_model: {base}\n---\n\nMerged by cdsr-harness into {base}:\n\n{parts}\n"
    (folder / "README.md").write_text(card, encoding="utf-8")


def _layers(model: nn.Module, delta: TaskVector) -> dict[str, nn.Parameter]:
    """The model's weights by the task vector's names."""
    parameters = dict(model.named_parameters())
    # A component of hidden states (AutoModel) folds into a model that writes too (AutoModelForCausalLM).
    prefix = "" if all(name in parameters for name in delta) else f"{getattr(model, 'base_model_prefix', '')}."
    missing = next((name for name in delta if prefix + name not in parameters), None)
    if missing:
        raise ValueError(f"the model has no {missing}")
    return {name: parameters[prefix + name] for name in delta}
