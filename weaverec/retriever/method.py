"""The retriever head: a language model that scores items by dot products of text vectors."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harness.evaluation.rank_scorer import validation_ndcg
from harness.methods.api import DotProduct
from harness.methods.artefact import Artefact
from harness.protocol.split import DomainTraining, TrainingData
from harness.protocol.suite import Budget
from harness.tuning.space import Space
from harness.tuning.tunable import with_settings
from weaverec.lm.backbone import Backbone, autocast_bf16, find_backbone, load
from weaverec.lm.lora import extended
from weaverec.retriever.encoding import HistoryEncoder, history_encoder, retriever
from weaverec.retriever.serving import write_files
from weaverec.retriever.train import ComponentSettings, component, training_losses


@dataclass(frozen=True)
class RetrieverHead:
    """A language model that is trained and scored as a retriever.

    Attributes:
        settings: of training and encoding.
        space: what the tuner may choose of the settings.
        folder: where the backbone's path starts, if it is relative.
    """

    settings: ComponentSettings = field(default_factory=ComponentSettings)
    space: Space = field(default_factory=lambda: Space.of_package("weaverec", "components"))
    folder: Path = Path()

    @property
    def backbone(self) -> Backbone:
        """The base model.

        Raises:
            HarnessError: there is no such model.
        """
        return find_backbone(self.settings.backbone, self.folder)

    def with_settings(self, chosen: Mapping[str, Any]) -> "RetrieverHead":
        """The same head with some settings replaced."""
        return replace(self, settings=with_settings(self.settings, chosen))

    def relative_to(self, folder: Path) -> "RetrieverHead":
        """The same head, with a relative path of the backbone read from a folder."""
        return replace(self, folder=folder)

    def content(self) -> Mapping[str, str]:
        """The backbone's digest, and how its texts are pooled where its files say something else than the default."""
        backbone = self.backbone
        pooling = {} if backbone.pooling.is_default else {"pooling": str(backbone.pooling)}
        return {"backbone": backbone.digest, **pooling}

    def check_files(self) -> None:
        """Check that the backbone's files are present and whole."""
        self.backbone.check()

    def component(
        self, data: TrainingData, mix: tuple[str, ...], budget: Budget, seed: int, times: int = 1
    ) -> Artefact:
        """The artefact of a component trained on a mix of domains, with `times` the caps on its training."""
        return component(data, mix, *extended(self.settings, budget, times), seed, self.folder)

    def load(self, export: bool = False) -> tuple[nn.Module, Any]:
        """The base model and its tokenizer.

        With `export`, a decoder-only model has the layer that predicts tokens, so that whatever serves its base can
        serve it.
        """
        backbone = self.backbone
        return load(backbone, "tokens" if export and backbone.decoder_only else "states")

    def write_files(self, folder: Path, seed: int) -> str:  # noqa: ARG002 - nothing is drawn
        """Write how an exported model scores into its folder; returns a section of its model card."""
        return write_files(folder, self.backbone, self.settings.retriever)

    def encoder(self, tokenizer: Any, domain: DomainTraining) -> HistoryEncoder:
        """The encoder of a domain's items and histories."""
        return history_encoder(self.backbone, domain.catalogue, tokenizer, self.settings.retriever)

    def scorer(
        self,
        model: nn.Module,
        tokenizer: Any,
        domain: DomainTraining,
        seed: int,  # noqa: ARG002 - nothing is drawn
        device: str,  # noqa: ARG002 - that of the model
    ) -> DotProduct:
        """A scorer by dot products; encodes the catalogue."""
        return retriever(model, self.encoder(tokenizer, domain))

    def validator(
        self,
        model: nn.Module,
        tokenizer: Any,
        domain: DomainTraining,
        seed: int,  # noqa: ARG002 - nothing is drawn
        device: str,
    ) -> Callable[[], float]:
        """A function that returns the model's NDCG@10 on a domain's validation events, with the weights it has then."""
        encoder = self.encoder(tokenizer, domain)

        def validate() -> float:
            with autocast_bf16(device):
                return validation_ndcg(retriever(model, encoder), domain)

        return validate

    def losses(
        self, model: nn.Module, tokenizer: Any, domains: Sequence[DomainTraining], seed: int, device: str
    ) -> Iterator[torch.Tensor]:
        """The loss of the batches of a training on some domains, without end: float32 []."""
        return training_losses(model, self.backbone, tokenizer, domains, self.settings, seed, device)

    def text_encoder(self, model: nn.Module, tokenizer: Any, domain: DomainTraining, device: str) -> DotProduct:
        """A scorer with vectors of histories: that which serves."""
        return self.scorer(model, tokenizer, domain, 0, device)
