"""The interface of merging rules: what a rule gets, and what it returns.

A rule turns trained components into one task vector. The simplest is a function of task vectors; a rule that needs more
is an object with a name and a `merge` method, which may use the base model, its validation score and the training data.
See `weaverec.merging.rules` for the built-in ones and `weaverec.merging.registry` for how rules are found.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from harness.errors import HarnessError
from harness.methods.api import Scorer, VectorScorer
from harness.methods.artefact import Artefact, Artefacts
from harness.protocol.split import DomainTraining, TrainingData
from harness.protocol.suite import Budget
from harness.tuning.space import Space
from weaverec.lm.backbone import Backbone
from weaverec.merging.task_vectors import LowRank, TaskVector, folded, task_vector

#: The domains that a component is trained on.
Mix = tuple[str, ...]


@dataclass(frozen=True)
class Component:
    """A trained LoRA component.

    Attributes:
        mix: the domains it was trained on.
        folder: its files in PEFT's format.
        artefact: how it was trained; its key is part of the keys of what is made from it. None if that is unknown:
            then the files stand for it.
    """

    mix: Mix
    folder: Path
    artefact: Artefact | None = None

    @property
    def name(self) -> str:
        """The domains of its mix, such as `beauty + toys`."""
        return " + ".join(self.mix)

    @cached_property
    def task_vector(self) -> LowRank:
        """Its task vector dW = (alpha / r) B A, read from the folder on first use."""
        return task_vector(self.folder)


class Head(Protocol):
    """How a language model is trained and scored: as a retriever or as a ranker."""

    @property
    def settings(self) -> Any:
        """Settings of training and scoring: a frozen dataclass."""
        ...

    @property
    def space(self) -> Space:
        """What the tuner may choose of the settings."""
        ...

    @property
    def backbone(self) -> Backbone:
        """The base model."""
        ...

    def with_settings(self, chosen: Mapping[str, Any]) -> "Head":
        """The same head with some settings replaced."""
        ...

    def relative_to(self, folder: Path) -> "Head":
        """The same head, with relative paths of backbones read from a folder."""
        ...

    def content(self) -> Mapping[str, str]:
        """Digests of the files that it reads."""
        ...

    def check_files(self) -> None:
        """Check that the files of its backbones are present and whole."""
        ...

    def component(self, data: TrainingData, mix: Mix, budget: Budget, seed: int, times: int = 1) -> Artefact:
        """The artefact of a component trained on a mix of domains, with `times` the caps on its training."""
        ...

    def load(self, export: bool = False) -> tuple[nn.Module, Any]:
        """The base model, frozen, on the CPU, and its tokenizer; with `export`, in the form that others load."""
        ...

    def write_files(self, folder: Path, seed: int) -> str:
        """Write how an exported model scores into its folder; returns a section of its model card."""
        ...

    def scorer(self, model: nn.Module, tokenizer: Any, domain: DomainTraining, seed: int, device: str) -> Scorer:
        """A scorer of a domain from a model on the device."""
        ...

    def validator(
        self, model: nn.Module, tokenizer: Any, domain: DomainTraining, seed: int, device: str
    ) -> Callable[[], float]:
        """A function that returns the model's NDCG@10 on a domain's validation events, with the weights it has then."""
        ...

    def losses(
        self, model: nn.Module, tokenizer: Any, domains: Sequence[DomainTraining], seed: int, device: str
    ) -> Iterator[torch.Tensor]:
        """The training loss of batches of some domains, without end: float32 [], differentiable in the weights."""
        ...

    def text_encoder(self, model: nn.Module, tokenizer: Any, domain: DomainTraining, device: str) -> VectorScorer:
        """A scorer with vectors of histories, for diagnostics."""
        ...


@dataclass(frozen=True)
class MergeContext:
    """What a merging rule may use besides the components.

    Attributes:
        data: training and validation events of all domains of the scenario; no test events.
        head: how the model is trained and scored; its `settings` are those of the components' training.
        seed: for all random draws of the rule.
        device: `cpu` or `cuda`.
        artefacts: keeps what is expensive, such as a search; see `weaverec.merging.search.GridSearch`.
    """

    data: TrainingData
    head: Head
    seed: int
    device: str
    artefacts: Artefacts

    @property
    def target(self) -> DomainTraining:
        """The domain that the merged model serves."""
        return self.data.target_domain

    @cached_property
    def rng(self) -> np.random.Generator:
        """A generator seeded with `seed`."""
        return np.random.default_rng(self.seed)

    @property
    def model(self) -> nn.Module:
        """The base model on the device, loaded on first use.

        Its weights are frozen: set `requires_grad` where gradients are needed. Change them with `folded` only.
        """
        return self._loaded[0]

    @property
    def tokenizer(self) -> Any:
        """The base model's tokenizer."""
        return self._loaded[1]

    def validate(self, merged: TaskVector) -> float:
        """NDCG@10 of the base model plus a task vector on the target's validation events."""
        with folded(self.model, merged):
            return self._validator()

    def losses(self, mix: Mix) -> Iterator[torch.Tensor]:
        """The training loss of `model` on batches of a mix of domains, without end: float32 [].

        A loss is differentiable in those weights that have `requires_grad` set. Fold a component in to get its loss:
        `with folded(context.model, component.task_vector): ...`.
        """
        domains = sorted((self.data.domains[name] for name in mix), key=lambda domain: domain.identity)
        return self.head.losses(self.model, self.tokenizer, domains, self.seed, self.device)

    @cached_property
    def _loaded(self) -> tuple[nn.Module, Any]:
        model, tokenizer = self.head.load()
        return model.to(self.device), tokenizer

    @cached_property
    def _validator(self) -> Callable[[], float]:
        return self.head.validator(self.model, self.tokenizer, self.target, self.seed, self.device)


class MergeRule(Protocol):
    """A merging rule.

    A rule that is a frozen dataclass declares its parameters as fields, with defaults and ranges such as
    `Annotated[float, Gt(0)]`: a suite then sets them as `settings: {rule: {density: 0.2}}`.
    """

    @property
    def name(self) -> str:
        """Its name in results."""
        ...

    def merge(self, components: Sequence[Component], context: MergeContext) -> TaskVector:
        """The merged task vector of one or more components, target first where it has one."""
        ...


class FunctionRule:
    """A rule from a function of task vectors."""

    def __init__(self, function: Callable[[Sequence[TaskVector]], TaskVector]) -> None:
        self.name = function.__name__.replace("_", " ")
        self.function = function

    def merge(self, components: Sequence[Component], context: MergeContext) -> TaskVector:  # noqa: ARG002
        """The function's result."""
        return self.function([component.task_vector for component in components])


def as_rule(value: Any) -> MergeRule:
    """A rule from what an author offers.

    Args:
        value: a rule, its class, a function without arguments that makes one, or a function of task vectors.

    Raises:
        HarnessError: it is none of these.
    """
    if isinstance(value, type) or (callable(value) and not hasattr(value, "merge") and not _required(value)):
        value = value()
    if hasattr(value, "merge") and isinstance(getattr(value, "name", None), str):
        rule: MergeRule = value
        return rule
    if callable(value) and len(_required(value)) == 1 and hasattr(value, "__name__"):
        return FunctionRule(value)
    raise HarnessError(
        f"{value!r} is not a merging rule.",
        "Give a function of task vectors, or an object with a name and merge(components, context).",
    )


def _required(function: Callable[..., Any]) -> list[str]:
    """Names of the arguments that a function cannot be called without."""
    variable = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    parameters = signature(function).parameters.values()
    return [p.name for p in parameters if p.default is Parameter.empty and p.kind not in variable]


def has_parameters(rule: object) -> bool:
    """Whether a rule declares parameters that a suite can set."""
    return is_dataclass(rule) and bool(fields(rule))
