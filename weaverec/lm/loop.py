"""The training loop of a LoRA component, whatever its head."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import nn

from harness.errors import DivergedError
from harness.methods.artefact import MakeContext
from harness.training.checkpoint import TrainingLoopState
from harness.training.device import has_bfloat16
from harness.training.early_stopping import EarlyStopping
from harness.training.record import TrainingRecord
from harness.training.schedule import cosine_factor
from weaverec.lm.lora import LoraSettings, is_adapter_dropout

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Batch = TypeVar("Batch")
Weights = dict[str, torch.Tensor]

#: Seconds between checkpoints, besides those at each validation.
_SAVE_EVERY_S = 600.0

#: Prefix of the averaged weights in a checkpoint.
_AVERAGE = "average."


@dataclass(frozen=True)
class TrainingPlan:
    """The length of one training.

    Attributes:
        name: for error messages.
        steps: maximum of optimiser steps.
        validate_every: steps between validations.
        patience: validations without improvement after which training stops.
    """

    name: str
    steps: int
    validate_every: int
    patience: int


def train_adapter(
    model: nn.Module,
    settings: LoraSettings,
    plan: TrainingPlan,
    batches: Iterator[Batch],
    gradients: Callable[[Batch], float],
    validate: Callable[[], float],
    folder: Path,
    context: MakeContext,
) -> TrainingRecord:
    """Train an adapter and write the weights of its best validation in PEFT's format.

    TensorBoard curves of loss, learning rate and validation are written beside them: `tensorboard --logdir
    <folder>/curves`. An interrupted training resumes from its last checkpoint and ends with the weights that it would
    have had; the curves then begin there.

    Args:
        model: an adapted model.
        settings: of the optimiser.
        plan: of the training.
        batches: the batch of each step, the same each time a training starts.
        gradients: accumulates the gradients of a batch's loss, or of this process's share of it; returns (the share of)
            the loss.
        validate: returns NDCG@10 on validation events, the same in every process.
        folder: where the adapter goes.
        context: progress callback, checkpoint and processes.

    Raises:
        DivergedError: a loss or a gradient is not finite.
    """
    from torch.utils.tensorboard import SummaryWriter

    loop = _Loop(model, settings, plan, context)
    with SummaryWriter(folder / "curves") as curves:
        for step, batch in enumerate(islice(batches, plan.steps), start=1):
            if step <= loop.done:  # made before the interruption
                continue
            if loop.stopping.exhausted:
                break
            loop.step(step, partial(gradients, batch), curves)
            context.report(step, plan.steps)
            at_validation = step % plan.validate_every == 0 or step == plan.steps
            if at_validation:
                loop.validate(step, validate, curves)
            if at_validation or loop.state.due:
                loop.state.save({"step": step, "gradient_norm": loop.gradient_norm})
    return loop.finish(folder)


def diverged(name: str, reason: str, settings: LoraSettings) -> DivergedError:
    """The error of a training that diverged or collapsed."""
    return DivergedError(
        f"The training of {name} diverged: {reason}.", f"Lower learning_rate, which is {settings.learning_rate:g}."
    )


class _Loop:
    """The state of a training: weights, their average, optimiser, early stopping and checkpoint."""

    def __init__(self, model: nn.Module, settings: LoraSettings, plan: TrainingPlan, context: MakeContext) -> None:
        self.model, self.settings, self.plan, self.context = model, settings, plan, context
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self.parameters, lr=settings.learning_rate, weight_decay=0.0)
        self.stopping: EarlyStopping[Weights] = EarlyStopping(plan.patience)
        self.average = WeightAverage(self.weights(), settings.averaging) if settings.averaging else None
        self.seed = torch.initial_seed()
        self.done, self.gradient_norm = 0, {"first": 0.0, "largest": 0.0}
        set_training_mode(model, settings)
        self.state = TrainingLoopState(
            context.checkpoint,
            self.optimiser,
            self.stopping,
            self._weights_and_average,
            self._load_weights_and_average,
            _SAVE_EVERY_S,
            processes=context.processes,
        )
        if (progress := self.state.restore()) is not None:
            self.done, self.gradient_norm = progress["step"], progress["gradient_norm"]

    def weights(self) -> Weights:
        """A copy of the adapter's weights."""
        from peft import get_peft_model_state_dict

        adapter: Any = self.model
        tensors = get_peft_model_state_dict(adapter, save_embedding_layers=False)
        return {name: tensor.detach().clone() for name, tensor in tensors.items()}

    def load_weights(self, weights: Weights) -> None:
        """Replace the adapter's weights."""
        from peft import set_peft_model_state_dict

        adapter: Any = self.model
        set_peft_model_state_dict(adapter, weights)

    def step(self, step: int, gradients: Callable[[], float], curves: "SummaryWriter") -> None:
        """Make one optimiser step.

        Raises:
            DivergedError: the loss or the gradient is not finite.
        """
        settings, processes = self.settings, self.context.processes
        rate = settings.learning_rate * learning_rate_factor(step - 1, self.plan.steps, settings)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad()
        if settings.dropout:  # each step draws its own masks, so that a resumed training draws the same
            torch.manual_seed(int(np.random.default_rng((self.seed, step, processes.rank)).integers(2**63)))
        loss = processes.total(gradients())
        processes.add_gradients(self.parameters)
        norm = float(nn.utils.clip_grad_norm_(self.parameters, settings.max_gradient_norm))
        curves.add_scalar("loss", loss, step)
        curves.add_scalar("learning rate", rate, step)
        if not math.isfinite(loss) or not math.isfinite(norm):
            reason = f"at step {step} its loss is {loss:g} and its gradient's norm {norm:g}"
            raise diverged(self.plan.name, reason, settings)
        first = norm if step == 1 else self.gradient_norm["first"]
        self.gradient_norm = {"first": first, "largest": max(self.gradient_norm["largest"], norm)}
        self.optimiser.step()
        if self.average is not None:
            self.average.add(self.weights(), step)
        self.done = step

    def validate(self, step: int, validate: Callable[[], float], curves: "SummaryWriter") -> None:
        """Validate the averaged weights, or the current ones where no average is kept."""
        latest = self.weights()
        if self.average is not None:
            self.load_weights(self.average.weights)
        # Training mode has dropout, and with checkpointing no cache of keys and values, which a ranker needs.
        self.model.eval()
        score = validate()
        set_training_mode(self.model, self.settings)
        curves.add_scalar("validation NDCG@10", score, step)
        self.stopping.update(score, step, self.weights)
        self.load_weights(latest)

    def finish(self, folder: Path) -> TrainingRecord:
        """Write the best weights, and return the record of the training."""
        assert self.stopping.state is not None  # noqa: S101 - the last step always validates
        self.load_weights(self.stopping.state)
        self.model.eval()
        adapter: Any = self.model
        # Embeddings are never adapted; to check that, PEFT would look for the base model on the network.
        adapter.save_pretrained(folder, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
        # The arithmetic of training and validation: callers compute inside `autocast_bf16`.
        products = "bfloat16" if has_bfloat16(self.context.device) else "float32"
        base = next(p.dtype for p in self.model.parameters() if not p.requires_grad)
        notes = {
            "arithmetic": f"{products} products, {str(base).removeprefix('torch.')} base",
            "gradient_norm": self.gradient_norm,
            "stopped_by": "patience" if self.stopping.exhausted else "cap on steps",
        }
        return self.stopping.record(self.done, sum(p.numel() for p in self.parameters), notes)

    def _weights_and_average(self) -> Weights:
        average = {} if self.average is None else self.average.weights
        return self.weights() | {f"{_AVERAGE}{name}": mean for name, mean in average.items()}

    def _load_weights_and_average(self, tensors: Weights) -> None:
        if self.average is not None:
            for name, mean in self.average.weights.items():
                mean.copy_(tensors[f"{_AVERAGE}{name}"])
        self.load_weights({name: tensor for name, tensor in tensors.items() if not name.startswith(_AVERAGE)})


class WeightAverage:
    """An exponential moving average of weights; the first steps are averaged with equal weights.

    Args:
        weights: the initial weights, which are overwritten.
        decay: of the average.
    """

    def __init__(self, weights: Weights, decay: float) -> None:
        self.weights, self._decay = weights, decay

    def add(self, weights: Weights, step: int) -> None:
        """Add the weights after a step, counted from 1."""
        share = max(1 - self._decay, 1 / step)
        for name, mean in self.weights.items():
            mean.lerp_(weights[name], share)


def learning_rate_factor(step: int, steps: int, settings: LoraSettings) -> float:
    """Factor of the peak learning rate at a step, counted from 0."""
    warm_up = max(1, round(settings.warm_up * steps))
    if settings.schedule == "constant":
        return min(1.0, (step + 1) / warm_up)
    return cosine_factor(step, steps, warm_up)


def set_training_mode(model: nn.Module, settings: LoraSettings) -> None:
    """Turn on the adapter's dropout and, if set, activation checkpointing; the base model keeps no dropout."""
    model.train(settings.checkpointing)  # transformers checkpoints in training mode only
    for name, module in model.named_modules():
        if is_adapter_dropout(name):
            module.train()
