"""The loop that trains a LoRA component, whatever its head: readable from top to bottom."""

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import nn

from harness.errors import DivergedError, HarnessError
from harness.methods.artefact import MakeContext, TrainingEstimate
from harness.protocol.scenario import Budget
from harness.protocol.split import DomainTraining
from harness.training.checkpoint import restore_training, training_state
from harness.training.device import has_bfloat16
from harness.training.early_stopping import EarlyStopping
from harness.training.record import TrainingRecord
from weaverec.lm.backbone import Backbone, sizes_of

Batch = TypeVar("Batch")

#: A training is kept at its validations, and between them as often as this, in seconds.
_KEEP_EVERY_S = 600.0

#: What names of averaged weights begin with in a checkpoint.
_AVERAGE = "average."


@dataclass(frozen=True)
class LoraSettings:
    """How an adapter is made and optimised; the same for every component of a method.

    Attributes:
        rank: LoRA rank r.
        alpha: LoRA alpha; a task vector is (alpha / rank) B A.
        dropout: of the adapter's inputs; the base model has none.
        learning_rate: the peak of AdamW's.
        warm_up: share of the steps over which the rate rises.
        schedule: what the rate does after that: it falls along a `cosine` over the steps, or stays `constant`, as suits
            a training that ends when validation says so.
        averaging: decay of a moving average of the weights, which is validated and kept; 0 keeps the latest weights.
        steps: optimiser steps at most, for each domain of the mix.
        max_gradient_norm: gradients are scaled down to this norm.
        validate_every: steps between validations, for each domain of the mix; the last step is validated too.
        checkpointing: compute activations twice instead of keeping them, for backbones that fill the memory.
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
    """Fails before a training rather than at its first validation.

    Raises:
        HarnessError: no domain of the mix has a validation event to choose the best weights by.
    """
    if not any(len(domain.validation.targets) for domain in domains):
        names = " + ".join(domain.name for domain in domains)
        raise HarnessError(
            f"{names} has no validation events under this split: nothing can choose what to keep of a training.",
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
    twice: bool = False,
) -> TrainingEstimate:
    """What a training takes, from the tokens it reads.

    Every token costs two operations a weight forwards, and two backwards, as the weights themselves get no gradient;
    checkpointing goes forwards twice. Activations are taken as 20 numbers of 4 bytes a token, layer and hidden unit,
    and what predicts a token as four a word of the vocabulary: logits, in the weights' precision and in float32, their
    softmax and their gradient.

    Args:
        backbone: the model; its configuration is read, not its weights.
        settings: of the adapter.
        trained: tokens that go forwards and backwards.
        read: tokens that only go forwards, in validation.
        at_once: tokens whose activations are held at once.
        dtype: of the model's weights.
        predicted: tokens of `at_once` whose next ones are predicted.
        twice: whether tokens go forwards twice without checkpointing too.
    """
    sizes = sizes_of(backbone, "tokens" if predicted else "states")
    layers = 1 if settings.checkpointing else sizes.layers
    activations = 4 * (20 * at_once * layers * sizes.hidden + 4 * predicted * sizes.vocabulary)
    passes = 4 + (2 if twice else 0) + (2 if settings.checkpointing else 0)
    return TrainingEstimate(
        trained + read,
        sizes.multiplied * (passes * trained + 2 * read),
        (dtype.itemsize * sizes.weights + activations) / 1e9,
    )


def adapted(base: nn.Module, backbone: Backbone, settings: LoraSettings) -> nn.Module:
    """A model with a fresh LoRA on all its linear layers, drawn from torch's current random state, in eval mode.

    Raises:
        HarnessError: it has layers whose adapters could not be merged.
    """
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    if any(isinstance(module, Conv1D) for module in base.modules()):
        raise HarnessError(
            f"The backbone {backbone.name} keeps its weights transposed, as GPT-2 does, which merging does not know.",
            "Use another, such as Qwen/Qwen2.5-0.5B-Instruct.",
        )
    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules="all-linear"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # between PEFT and transformers; nothing here to change
        adapter: Any = get_peft_model(base, config)
    # PEFT would write this machine's path, and the adapter could be loaded nowhere else.
    adapter.peft_config["default"].base_model_name_or_path = backbone.name
    for name, module in adapter.named_modules():
        if isinstance(module, nn.Dropout) and not _of_adapter(name):
            module.p = 0.0  # see backbone.load
    if settings.checkpointing:
        adapter.gradient_checkpointing_enable({"use_reentrant": False})
    model: nn.Module = adapter
    return model.eval()


def _set_learning(model: nn.Module, settings: LoraSettings) -> None:
    """Puts a model into the mode that it learns in: the adapter's dropout is on, and activations are checkpointed."""
    model.train(settings.checkpointing)  # transformers checkpoints in training mode only
    for name, module in model.named_modules():
        if _of_adapter(name):
            module.train()


def _of_adapter(name: str) -> bool:
    return "lora_dropout" in name


@dataclass(frozen=True)
class Plan:
    """One training, beside its settings.

    Attributes:
        name: for people.
        steps: how many to make at most.
        validate_every: steps between validations.
        patience: validations without a gain after which to stop.
    """

    name: str
    steps: int
    validate_every: int
    patience: int


def train_adapter(
    model: nn.Module,
    settings: LoraSettings,
    plan: Plan,
    batches: Iterator[Batch],
    gradients: Callable[[Batch], float],
    validate: Callable[[], float],
    folder: Path,
    making: MakeContext,
) -> TrainingRecord:
    """Trains an adapter and writes the weights of its best validation in PEFT's own format.

    Beside them stand TensorBoard's curves of loss, rate and validation: `tensorboard --logdir <folder>/curves`.
    A training that was killed goes on from its last validation, or from some minutes ago, and ends with the weights
    it would have had; the curves then begin there.

    Args:
        model: an adapted model.
        settings: of the optimiser.
        plan: how long, and under which name.
        batches: what each step takes, the same each time a training starts.
        gradients: adds up the gradients of a batch's loss, or of this process's share of it; gives the (share of the)
            loss.
        validate: NDCG@10 on validation events, the same in every process.
        folder: where the adapter goes.
        making: told of each step; keeps what a killed training goes on from.

    Raises:
        DivergedError: a loss or a gradient is not finite.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from torch.utils.tensorboard import SummaryWriter

    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=0.0)
    best: EarlyStopping[dict[str, torch.Tensor]] = EarlyStopping(plan.patience)
    adapter: Any = model
    processes = making.processes

    def state() -> dict[str, torch.Tensor]:
        own = get_peft_model_state_dict(adapter, save_embedding_layers=False)
        return {name: tensor.detach().clone() for name, tensor in own.items()}

    average = _Average(state(), settings.averaging) if settings.averaging else None

    def keep(step: int) -> None:
        now = state() | ({} if average is None else average.kept())
        making.checkpoint.write(
            training_state(now, best.state, optimiser),
            {"step": step, "best_step": best.best_step, "validation": best.curve, "gradient_norm": norms},
        )

    _set_learning(model, settings)
    first_seed, kept_at = torch.initial_seed(), time.monotonic()
    done, norms = 0, {"first": 0.0, "largest": 0.0}
    if (kept := processes.from_main(making.checkpoint.read)) is not None:
        tensors, notes = kept
        done, norms = notes["step"], notes["gradient_norm"]
        weights_then, best_then = restore_training(tensors, optimiser)
        if average is not None:
            weights_then = average.restore(weights_then)
        set_peft_model_state_dict(adapter, weights_then)
        if notes["validation"]:
            best.restore(notes["validation"], notes["best_step"], best_then)
    with SummaryWriter(folder / "curves") as curves:
        for step, batch in enumerate(islice(batches, plan.steps), start=1):
            if step <= done:  # it was made before the training was killed
                continue
            if best.exhausted:
                break
            done = step
            rate = settings.learning_rate * _rate(step - 1, plan.steps, settings)
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.zero_grad()
            if settings.dropout:  # a step's masks are its own, so that a training that goes on draws the same
                torch.manual_seed(int(np.random.default_rng((first_seed, step, processes.rank)).integers(2**63)))
            loss = processes.total(gradients(batch))
            processes.add_gradients(weights)
            curves.add_scalar("loss", loss, step)
            curves.add_scalar("learning rate", rate, step)
            norm = float(nn.utils.clip_grad_norm_(weights, settings.max_gradient_norm))
            if not math.isfinite(loss) or not math.isfinite(norm):
                raise diverged(
                    plan.name, f"at step {step} its loss is {loss:g} and its gradient's norm {norm:g}", settings
                )
            norms = {"first": norms["first"] if step > 1 else norm, "largest": max(norms["largest"], norm)}
            optimiser.step()
            if average is not None:
                average.add(state(), step)
            making.report(step, plan.steps)
            if validated := step % plan.validate_every == 0 or step == plan.steps:
                latest = state()
                if average is not None:
                    set_peft_model_state_dict(adapter, average.weights)
                # In the mode for learning there is dropout, and with checkpointing no keys and values for a ranker.
                model.eval()
                score = validate()
                _set_learning(model, settings)
                curves.add_scalar("validation NDCG@10", score, step)
                best.update(score, step, state)
                set_peft_model_state_dict(adapter, latest)
            if processes.main and (validated or time.monotonic() - kept_at > _KEEP_EVERY_S):
                keep(step)
                kept_at = time.monotonic()
    assert best.state is not None  # noqa: S101 - the last step always validates
    set_peft_model_state_dict(adapter, best.state)
    model.eval()
    # Embeddings are never adapted; asked to find out, PEFT would look for the base model on the network.
    adapter.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
    # In what it was trained and validated: callers compute inside `autocast_bf16`.
    products = "bfloat16" if has_bfloat16(making.device) else "float32"
    base = next(p.dtype for p in model.parameters() if not p.requires_grad)
    arithmetic = f"{products} products, {str(base).removeprefix('torch.')} base"
    notes = {
        "arithmetic": arithmetic,
        "gradient_norm": norms,
        "stopped_by": "patience" if best.exhausted else "cap on steps",
    }
    return best.record(done, sum(p.numel() for p in weights), notes)


def diverged(name: str, what: str, settings: LoraSettings) -> DivergedError:
    """The error of a training that came to nothing: its name, what was seen of it, and how to mend it."""
    return DivergedError(
        f"The training of {name} diverged: {what}.", f"Lower learning_rate, which is {settings.learning_rate:g}."
    )


class _Average:
    """An exponential moving average of weights, of which the first count as much as the number so far allows."""

    def __init__(self, weights: dict[str, torch.Tensor], decay: float) -> None:
        self.weights, self._decay = weights, decay

    def add(self, weights: dict[str, torch.Tensor], step: int) -> None:
        share = max(1 - self._decay, 1 / step)
        for name, mean in self.weights.items():
            mean.lerp_(weights[name], share)

    def kept(self) -> dict[str, torch.Tensor]:
        """As a checkpoint has it, beside the latest weights."""
        return {f"{_AVERAGE}{name}": mean for name, mean in self.weights.items()}

    def restore(self, kept: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Takes itself up from a checkpoint, and gives back the latest weights."""
        for name, mean in self.weights.items():
            mean.copy_(kept.pop(f"{_AVERAGE}{name}"))
        return kept


def _rate(step: int, steps: int, settings: LoraSettings) -> float:
    rising = max(1, round(settings.warm_up * steps))
    if step < rising:
        return (step + 1) / rising
    if settings.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
