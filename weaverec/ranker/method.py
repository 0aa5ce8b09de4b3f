"""The ranker head: a decoder-only language model that ranks candidates named in a prompt."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harness.errors import HarnessError
from harness.methods.api import DotProduct, ScoringEstimate
from harness.methods.artefact import Artefact
from harness.methods.registry import make_method
from harness.protocol.split import DomainTraining, TrainingData
from harness.protocol.suite import Budget
from harness.tuning.space import Space
from harness.tuning.tunable import with_settings
from weaverec.lm.backbone import Backbone, find_backbone, load, load_tokenizer
from weaverec.lm.lora import extended
from weaverec.merging.adamerging import EntropyWeights
from weaverec.merging.method import MergedModel
from weaverec.merging.search import GridSearch
from weaverec.ranker.cost import forward_flops, validation_prompt_length
from weaverec.ranker.scorer import Ranker
from weaverec.ranker.serving import write_files
from weaverec.ranker.train import (
    RankerSettings,
    candidate_finder,
    make_ranker,
    ranker_component,
    training_losses,
    validator,
    weights_dtype,
)

#: Users of each candidate set whose candidates are shown in a second order too, to see what the order changes.
_REORDERED = 30


@dataclass(frozen=True)
class RankerHead:
    """A decoder-only language model that is trained and scored as a ranker.

    Attributes:
        settings: of training and prompts.
        space: what the tuner may choose of the settings.
        folder: where the paths of backbones start, if they are relative.
    """

    settings: RankerSettings = field(default_factory=RankerSettings)
    space: Space = field(default_factory=lambda: Space.of_package("weaverec", "rankers"))
    folder: Path = Path()

    @property
    def backbone(self) -> Backbone:
        """The base model.

        Raises:
            HarnessError: there is no such model.
        """
        return find_backbone(self.settings.backbone, self.folder)

    @property
    def retriever_backbone(self) -> Backbone:
        """The model that retrieves candidates from a whole catalogue.

        Raises:
            HarnessError: there is no such model.
        """
        return find_backbone(self.settings.retriever_backbone, self.folder)

    def with_settings(self, chosen: Mapping[str, Any]) -> "RankerHead":
        """The same head with some settings replaced."""
        return replace(self, settings=with_settings(self.settings, chosen))

    def relative_to(self, folder: Path) -> "RankerHead":
        """The same head, with relative paths of backbones read from a folder."""
        return replace(self, folder=folder)

    def content(self) -> Mapping[str, str]:
        """The digests of the ranker's and the retriever's backbone."""
        return {"backbone": self.backbone.digest, "retriever": self.retriever_backbone.digest}

    def check_files(self) -> None:
        """Check that the files of both backbones are present and whole."""
        self.backbone.check("tokens")
        self.retriever_backbone.check()

    def component(
        self, data: TrainingData, mix: tuple[str, ...], budget: Budget, seed: int, times: int = 1
    ) -> Artefact:
        """The artefact of a component trained on a mix of domains, with `times` the caps on its training.

        Raises:
            HarnessError: its training answers are not of the form that is read, or need candidates that are not listed.
        """
        settings = self.settings
        if not settings.prompt.listed and (settings.by_list or settings.answer == "list"):
            setting = "by_list" if settings.by_list else "answer: list"
            raise HarnessError(
                f"{setting} needs candidates in the prompt, and prompt.listed is false.",
                f"Leave {setting} out, or set `prompt.listed: true`.",
            )
        if settings.by_list and settings.answer == "target" and settings.prompt.answers > 1:
            raise HarnessError(
                "A ranker that is taught to answer with one title (answer: target) cannot be read by_list of "
                f"{settings.prompt.answers}.",
                "Set `answer: list`, or `prompt.answers: 1`, or leave by_list out.",
            )
        # The ranker has its own cap on epochs beside the budget's.
        settings = replace(settings, epochs=times * settings.epochs)
        return ranker_component(data, mix, *extended(settings, budget, times), seed, self.folder)

    def load(self, export: bool = False) -> tuple[nn.Module, Any]:  # noqa: ARG002 - served and exported alike
        """The base model with its logits, and its tokenizer."""
        return load(self.backbone, "tokens", weights_dtype(self.settings))

    def write_files(self, folder: Path, seed: int) -> str:
        """Write how an exported model scores into its folder; returns a section of its model card."""
        return write_files(folder, self.settings, self.retriever_backbone, seed)

    def scorer(self, model: nn.Module, tokenizer: Any, domain: DomainTraining, seed: int, device: str) -> Ranker:
        """A ranker of the domain, by likelihood or by list."""
        settings, finder = self.settings, self.retriever_backbone
        return make_ranker(
            model, tokenizer, domain.catalogue, settings, seed, device, finder, settings.by_list, _REORDERED
        )

    def validator(
        self, model: nn.Module, tokenizer: Any, domain: DomainTraining, seed: int, device: str
    ) -> Callable[[], float]:
        """A function that returns the model's NDCG@10 on some validation events, by likelihood."""
        ranker = make_ranker(model, tokenizer, domain.catalogue, self.settings, seed, device, self.retriever_backbone)
        return validator(ranker, domain, self.settings, seed, device)

    def losses(
        self, model: nn.Module, tokenizer: Any, domains: Sequence[DomainTraining], seed: int, device: str
    ) -> Iterator[torch.Tensor]:
        """The loss of batches of training prompts, without end: float []."""
        return training_losses(model, tokenizer, domains, self.settings, seed, device)

    def text_encoder(
        self,
        model: nn.Module,  # noqa: ARG002 - a ranker has no vectors
        tokenizer: Any,  # noqa: ARG002 - as above
        domain: DomainTraining,
        device: str,
    ) -> DotProduct:
        """The retriever that finds the candidates."""
        return candidate_finder(domain.catalogue, self.retriever_backbone, device)


@dataclass(frozen=True)
class RankingModel(MergedModel):
    """A merged model with the ranker head. Reading a prompt for each test user takes long, so it is estimated."""

    def scoring_estimate(self, data: TrainingData, n_users: int, sizes: Sequence[int]) -> ScoringEstimate:
        """The cost of ranking candidates of each test user, and of the validations that choose a merge.

        Args:
            data: of the scenario.
            n_users: number of test users.
            sizes: items of each candidate set.
        """
        settings: RankerSettings = self.head.settings
        target, tokenizer, prompt = data.target_domain, load_tokenizer(self.backbone), settings.prompt
        read, predicted = 0.0, 0.0

        def add(n_prompts: int, candidates: int, n_titles: int) -> None:
            nonlocal read, predicted
            length = validation_prompt_length(target, tokenizer, prompt, candidates)
            predicted += n_prompts * n_titles * length.title
            read += n_prompts * (length.prompt + n_titles * length.title)

        for size in sizes:
            offered = min(size, prompt.candidates)
            in_two_orders = min(n_users, _REORDERED) if self._reorders(size) else 0
            add(n_users + in_two_orders, offered, prompt.answers if settings.by_list else offered)
        validated = min(settings.validation_users, len(target.validation.targets))
        add(self._tried(data) * validated, prompt.candidates, prompt.candidates)
        return ScoringEstimate(read, forward_flops(self.backbone, read, predicted))

    def _reorders(self, size: int) -> bool:
        """Whether some users' candidates are shown in a second order."""
        settings: RankerSettings = self.head.settings
        return settings.prompt.listed and not settings.by_list and size <= settings.prompt.candidates

    def _tried(self, data: TrainingData) -> int:
        """How many merges the rule validates."""
        if not isinstance(self.rule, GridSearch):
            return 0
        choices = len(self.rule.choices_for(len(self.trainings(data))))
        return choices if choices > 1 else 0


def by_name(name: str) -> MergedModel:
    """A method on the language model with the ranker head: `ranker.weaverec`.

    Raises:
        HarnessError: no such method, or one that is not made of components.
    """
    method = make_method(name)
    if not isinstance(method, MergedModel):
        raise HarnessError(f"{name} is no method on the language model.", "Use ranker.weaverec, for example.")
    if isinstance(method.rule, EntropyWeights):
        raise HarnessError(
            f"ranker.{name}: weights by entropy need a softmax over the catalogue, and a ranker scores a few "
            "candidates only.",
            "Use ranker.weaverec-chosen, whose weights validation chooses, or another rule, such as ranker.ties.",
        )
    parts = {each.name: getattr(method, each.name) for each in fields(method)}
    reference = method.reference and f"ranker.{method.reference}"
    return RankingModel(**{**parts, "head": RankerHead(), "reference": reference})
