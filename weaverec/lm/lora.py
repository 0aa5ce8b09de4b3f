"""LoRA adapters: settings, adding one to a model, and the cost of training one. The loop is in `weaverec.lm.loop`."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeVar

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import nn

from harness.errors import HarnessError
from harness.methods.artefact import TrainingEstimate
from harness.protocol.split import DomainTraining
from harness.protocol.suite import Budget
from weaverec.lm.backbone import Backbone, sizes_of


@dataclass(frozen=True)
class LoraSettings:
    """Settings of an adapter and its optimiser; the same for every component of a method.

    Attributes:
        rank: LoRA rank r.
        alpha: LoRA alpha; a task vector is (alpha / rank) B A.
        dropout: of the adapter's inputs; the base model has none.
        learning_rate: peak learning rate of AdamW.
        warm_up: share of the steps over which the learning rate rises.
        schedule: after the warm-up, `cosine` decay over the steps or a `constant` rate. A constant rate suits trainings
            that early stopping ends.
        averaging: decay of a moving average of the weights, which is validated and kept; 0 for no average.
        steps: maximum of optimiser steps, for each domain of the mix.
        max_gradient_norm: gradients are clipped to this norm.
        validate_every: steps between validations, for each domain of the mix; the last step is validated too.
        checkpointing: recompute activations instead of keeping them, for backbones that fill the memory.
    """

    rank: Annotated[int, Ge(1)] = 16
    alpha: Annotated[int, Ge(1)] = 32
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    warm_up: Annotated[float, Ge(0), Le(1)] = 0.1
    schedule: Literal["cosine", "constant"] = "cosine"
    averaging: Annotated[float, Ge(0), Lt(1)] = 0.0
    steps: Annotated[int, Ge(1)] = 100
    max_gradient_norm: Annotated[float, Gt(0)] = 1.0
    validate_every: Annotated[int, Ge(1)] = 25
    checkpointing: bool = False


Settings = TypeVar("Settings", bound=LoraSettings)


def extended(settings: Settings, budget: Budget, times: int) -> tuple[Settings, Budget]:
    """Settings and a budget with `times` the caps on steps and epochs, and `times` the patience."""
    longer = replace(budget, epochs=times * budget.epochs, patience=times * budget.patience)
    return replace(settings, steps=times * settings.steps), longer


def check_selectable(domains: Sequence[DomainTraining]) -> None:
    """Check, before a training, that a mix of domains has validation events.

    Raises:
        HarnessError: no domain has one, so that no checkpoint could be chosen.
    """
    if not any(len(domain.validation.targets) for domain in domains):
        names = " + ".join(domain.name for domain in domains)
        raise HarnessError(
            f"{names} has no validation events under this split, so no checkpoint can be chosen.",
            "Use leave-one-out, or leave out the methods that train on it alone.",
        )


def estimate(
    backbone: Backbone,
    settings: LoraSettings,
    trained: float,
    read: float,
    at_once: float,
    dtype: torch.dtype = torch.float32,
    predicted: float = 0,
    recompute: bool = False,
) -> TrainingEstimate:
    """Estimate the cost of a training from its tokens.

    Every token costs two operations a weight in the forward pass and two in the backward pass, as frozen weights get no
    gradient; checkpointing adds a forward pass. Activations are estimated as 20 numbers of 4 bytes for each token,
    layer and hidden unit; predicting a token as 4 numbers for each word of the vocabulary: logits in the weights'
    precision and in float32, their softmax and their gradient.

    Args:
        backbone: the model; its configuration is read, not its weights.
        settings: of the adapter.
        trained: tokens in training.
        read: tokens in validation.
        at_once: tokens whose activations are in memory at the same time.
        dtype: of the model's weights.
        predicted: tokens of `at_once` whose next token is predicted.
        recompute: whether activations are recomputed, without checkpointing too.
    """
    sizes = sizes_of(backbone, "tokens" if predicted else "states")
    layers = 1 if settings.checkpointing else sizes.layers
    activations = 4 * (20 * at_once * layers * sizes.hidden + 4 * predicted * sizes.vocabulary)
    passes = 4 + (2 if recompute else 0) + (2 if settings.checkpointing else 0)
    return TrainingEstimate(
        trained + read,
        sizes.multiplied * (passes * trained + 2 * read),
        (dtype.itemsize * sizes.weights + activations) / 1e9,
    )


def adapted(base: nn.Module, backbone: Backbone, settings: LoraSettings) -> nn.Module:
    """Add a new LoRA to all linear layers of a model, drawn from torch's random state; the model is in eval mode.

    Raises:
        HarnessError: it has layers whose adapters cannot be merged.
    """
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    from weaverec.lm.fused_lora import FusedLora

    if any(isinstance(module, Conv1D) for module in base.modules()):
        raise HarnessError(
            f"The backbone {backbone.name} has transposed weights, as GPT-2 does, which merging does not support.",
            "Use another, such as Qwen/Qwen2.5-0.5B-Instruct.",
        )
    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules="all-linear"
    )
    config._register_custom_module({nn.Linear: FusedLora})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of PEFT about transformers
        adapter: Any = get_peft_model(base, config)
    # PEFT would write a local path, and the adapter could not be loaded elsewhere.
    adapter.peft_config["default"].base_model_name_or_path = backbone.name
    for name, module in adapter.named_modules():
        if isinstance(module, nn.Dropout) and not is_adapter_dropout(name):
            module.p = 0.0  # see backbone.load
    if settings.checkpointing:
        adapter.gradient_checkpointing_enable({"use_reentrant": False})
    model: nn.Module = adapter
    return model.eval()


def is_adapter_dropout(name: str) -> bool:
    """Whether a module of that name is the dropout of an adapter."""
    return "lora_dropout" in name
