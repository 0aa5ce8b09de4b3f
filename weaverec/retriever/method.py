"""Methods that serve the base model plus a merge of components' task vectors.

Target-only, joint, naive-merge, its rivals and WeaveRec are all of this form, and differ in two things: the training
mixes of their components, and the rule that merges them. Backbone, texts, optimiser budget and selection are the same
code with the same settings.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from harness.evaluation.rank import validation_ndcg
from harness.methods.api import DiagnosticTable, FitContext, Floats32, Scorer
from harness.methods.artefact import Artefact, StepCallback
from harness.protocol.scenario import Budget
from harness.protocol.split import DomainTraining, TrainingData
from harness.tuning.space import Space
from harness.tuning.tunable import with_settings
from weaverec.lm.backbone import Backbone, Head, autocast_bf16, find_backbone, load, load_tokenizer
from weaverec.lm.lora import check_selectable
from weaverec.lm.tokens import check_texts
from weaverec.merging.diagnostics import diagnose, obtained, prefix_vectors
from weaverec.merging.rules import Rule, equal_weights
from weaverec.merging.search import chosen_by_entropy, merged_by, read_choice
from weaverec.merging.task_vectors import TaskVector, by_layer, fold, save_model, task_vector
from weaverec.retriever.encoding import HistoryEncoder, history_encoder, retriever
from weaverec.retriever.train import ComponentSettings, component

#: The domains a component is trained on.
Mix = tuple[str, ...]


@dataclass(frozen=True)
class Merged:
    """Serves W0 + a merge of the components' task vectors; with no component, W0 itself.

    Attributes:
        mixes: the components' training mixes, for a target and its sources.
        rule: how their task vectors are merged; None for weights by layer that minimise the entropy of predictions.
        settings: how components are trained.
        space: what the tuner may choose of the settings.
        reference: the row that it is compared with: one component, of the target alone.
        folder: where the backbone's path starts, if it is relative.
    """

    mixes: Callable[[str, tuple[str, ...]], Sequence[Mix]]
    rule: Rule | None = field(default_factory=equal_weights)
    settings: ComponentSettings = field(default_factory=ComponentSettings)
    space: Space = field(default_factory=lambda: Space.of_package("weaverec", "components"))
    reference: str | None = "target-only"
    folder: Path = Path()

    @property
    def backbone(self) -> Backbone:
        """The base model.

        Raises:
            HarnessError: it is not there.
        """
        return find_backbone(self.settings.backbone, self.folder)

    def relative_to(self, folder: Path) -> "Merged":
        """The same method, with the backbone's path read from a folder."""
        return replace(self, folder=folder)

    def learns_from(self, target: str, sources: tuple[str, ...]) -> tuple[str, ...]:
        """The domains of its components; the target alone if nothing is trained."""
        used = {name for mix in self.mixes(target, sources) for name in mix}
        return (target, *(source for source in sources if source in used))

    def tuned(self, chosen: Mapping[str, Any]) -> "Merged":
        """The same method with settings from its space."""
        return replace(self, settings=with_settings(self.settings, chosen))

    def content(self) -> Mapping[str, str]:
        """The backbone's digest."""
        return {"backbone": self.backbone.digest}

    def check_files(self) -> None:
        """Looks at the backbone's files; without its weights, the method can be planned."""
        self.backbone.check()

    def check_data(self, data: TrainingData) -> None:
        """Asks for item texts, and for validation events in each mix.

        Raises:
            HarnessError: there are none.
        """
        check_texts(data, self.learns_from(data.target, data.sources))
        for mix in self.distinct_mixes(data):
            check_selectable([data.domains[name] for name in mix])

    def artefacts(self, data: TrainingData, budget: Budget, seed: int) -> list[Artefact]:
        """The components, each once."""
        mixes = self.distinct_mixes(data)
        return [component(data, mix, self.settings, budget, seed, self.folder) for mix in mixes]

    def distinct_mixes(self, data: TrainingData) -> list[tuple[str, ...]]:
        """The mixes of domains that a component each is trained on, each once."""
        return list(dict.fromkeys(tuple(sorted(mix)) for mix in self.mixes(data.target, data.sources)))

    def fit(self, data: TrainingData, context: FitContext) -> Scorer:
        """Trains the components that are not there yet, merges, folds, and encodes the target's catalogue."""
        model, _ = self.model(data, context)
        with autocast_bf16(context.device):
            return retriever(model.to(context.device), self._reading(data.target_domain))

    def model(self, data: TrainingData, context: FitContext, head: Head = "states") -> tuple[nn.Module, Any]:
        """The merged model, in the base's shape, and its tokenizer."""
        needed = self.artefacts(data, context.budget, context.seed)
        delta = self._merged(needed, data, context) if needed else {}
        model, tokenizer = load(self.backbone, head)
        return fold(model, delta), tokenizer

    def export(self, data: TrainingData, context: FitContext, folder: Path) -> None:
        """Writes the merged model as a plain Hugging Face folder: weights as safetensors, tokenizer, model card.

        A decoder-only model is written with the head that predicts tokens, so that it can be served by whatever
        serves its base.
        """
        backbone = self.backbone
        model, tokenizer = self.model(data, context, "tokens" if backbone.decoder_only else "states")
        save_model(model, tokenizer, folder, backbone.name, self._made_of(data, context))

    def _made_of(self, data: TrainingData, context: FitContext) -> list[str]:
        rule = "layer weights by entropy" if self.rule is None else self.rule.name
        return [f"{a.label} ({rule})" for a in self.artefacts(data, context.budget, context.seed)]

    def diagnose(self, data: TrainingData, context: FitContext, report: StepCallback) -> list[DiagnosticTable]:
        """What can be measured of why the merge wins or loses."""
        needed = self.artefacts(data, context.budget, context.seed)
        components = obtained(self.distinct_mixes(data), needed, context.artefacts)
        model, validate = self._opened(data.target_domain, context.device)

        def vectors_of(name: str) -> Floats32:
            return prefix_vectors(retriever(model, self._reading(data.domains[name])), data.domains[name])

        return diagnose(model, validate, vectors_of, components, data, self.settings.cap, report)

    def _merged(self, needed: list[Artefact], data: TrainingData, context: FitContext) -> TaskVector:
        target = data.target_domain
        if self.rule is None:
            folders = [context.artefacts.get_or_train(artefact) for artefact in needed]
            chosen = chosen_by_entropy(needed, folders, target, self.backbone, self.settings, context.seed)
            weights = read_choice(context.artefacts.get_or_train(chosen))
            return by_layer([task_vector(folder) for folder in folders], weights)
        return merged_by(self.rule, needed, target, partial(self._opened, target), context.artefacts)

    def _opened(self, target: DomainTraining, device: str) -> tuple[nn.Module, Callable[[], float]]:
        """The base model, and what validates it as it stands."""
        model, _ = load(self.backbone)
        model.to(device)
        reading = self._reading(target)

        def validate() -> float:
            with autocast_bf16(device):
                return validation_ndcg(retriever(model, reading), target)

        return model, validate

    def _reading(self, domain: DomainTraining) -> HistoryEncoder:
        backbone = self.backbone
        return history_encoder(backbone, domain.catalogue, load_tokenizer(backbone), self.settings.retriever)
