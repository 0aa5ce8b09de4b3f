"""Methods that serve the base model plus a merge of components' task vectors.

WeaveRec and its baselines on the same backbone are all of this form. They differ in two things: the mixes that their
components are trained on, and the rule that merges them. Backbone, texts, optimiser budget and model selection are the
same code with the same settings.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from torch import nn

from harness.methods.api import DiagnosticTable, FitContext, Floats32, Scorer
from harness.methods.artefact import Artefact, StepCallback
from harness.protocol.split import TrainingData
from harness.protocol.suite import Budget
from harness.tuning.space import Space
from harness.tuning.tunable import check_settings, with_settings
from weaverec.lm.backbone import Backbone
from weaverec.lm.lora import check_selectable
from weaverec.lm.tokens import check_texts
from weaverec.merging.api import Component, Head, MergeContext, MergeRule, Mix, has_parameters
from weaverec.merging.diagnostics import diagnose, prefix_vectors
from weaverec.merging.registry import make_rule
from weaverec.merging.rules import EqualWeights
from weaverec.merging.task_vectors import fold, save_model
from weaverec.retriever.method import RetrieverHead

#: The mixes of the components, for a target and its sources.
Mixes = Callable[[str, tuple[str, ...]], Sequence[Mix]]

#: What the names of a rule's parameters begin with in a method's settings.
_RULE = "rule."


#: Distance between the seeds of trainings that belong to one seed of a method: larger than any suite's seeds.
_SEED_STRIDE = 1000


@dataclass(frozen=True)
class Training:
    """How one component of a method is trained.

    Attributes:
        mix: the domains it is trained on.
        seed: added to the method's seed.
        times: factor of the caps on steps and epochs, and of the patience.
    """

    mix: Mix
    seed: int = 0
    times: int = 1


@dataclass(frozen=True)
class MergedModel:
    """Serves W0 + a merge of the components' task vectors; with no component, W0 itself.

    Attributes:
        mixes: the mixes of the components, for a target and its sources.
        rule: how their task vectors are merged.
        repeat: for controls without sources, what takes the place of the m sources' components: `longer`, a training
            with m + 1 times the caps; `seeds`, m + 1 trainings with different seeds.
        head: how the model is trained and scored: as a retriever or as a ranker.
        reference: the method that it is compared with: one component, of the target alone.
        depends_on: code that is found by a name in a string, such as a rule's entry point.
    """

    mixes: Mixes
    rule: MergeRule = field(default_factory=EqualWeights)
    repeat: Literal["longer", "seeds"] | None = None
    head: Head = field(default_factory=RetrieverHead)
    reference: str | None = "target-only"
    depends_on: tuple[str, ...] = ()

    @property
    def settings(self) -> Any:
        """How components are trained and scored, and the rule's declared parameters as `rule`: a frozen dataclass."""
        head = self.head.settings
        if not has_parameters(self.rule):
            return head
        values = {each.name: getattr(head, each.name) for each in fields(head)}
        kind: Any = type(head)
        return _settings_type(kind, type(self.rule))(**values, rule=self.rule)

    @property
    def space(self) -> Space:
        """What the tuner may choose of the settings."""
        return self.head.space

    @property
    def backbone(self) -> Backbone:
        """The base model.

        Raises:
            HarnessError: there is no such model.
        """
        return self.head.backbone

    def with_rule(self, name: str) -> "MergedModel":
        """The same components with an installed merging rule.

        Raises:
            HarnessError, UnavailableError: see `weaverec.merging.registry.make_rule`.
        """
        rule, code = make_rule(name)
        return replace(self, rule=rule, depends_on=(code,))

    def relative_to(self, folder: Path) -> "MergedModel":
        """The same method, with relative paths of backbones read from a folder."""
        return replace(self, head=self.head.relative_to(folder))

    def tuned(self, chosen: Mapping[str, Any]) -> "MergedModel":
        """The same method with some settings replaced."""
        values = check_settings(self.settings, chosen)
        of_rule = {name.removeprefix(_RULE): value for name, value in values.items() if name.startswith(_RULE)}
        of_head = {name: value for name, value in values.items() if not name.startswith(_RULE)}
        return replace(self, rule=with_settings(self.rule, of_rule), head=self.head.with_settings(of_head))

    def learns_from(self, target: str, sources: tuple[str, ...]) -> tuple[str, ...]:
        """The domains of its components; the target alone if nothing is trained."""
        used = {name for mix in self.mixes(target, sources) for name in mix}
        return (target, *(source for source in sources if source in used))

    def content(self) -> Mapping[str, str]:
        """Digests of the backbones' files."""
        return self.head.content()

    def check_files(self) -> None:
        """Check the backbones' files; without their weights, the method can still be planned."""
        self.head.check_files()

    def check_data(self, data: TrainingData) -> None:
        """Check that there are item texts, and validation events in each mix.

        Raises:
            HarnessError: there are none.
        """
        check_texts(data, self.learns_from(data.target, data.sources))
        for mix in self.distinct_mixes(data):
            check_selectable([data.domains[name] for name in mix])

    def distinct_mixes(self, data: TrainingData) -> list[Mix]:
        """The mixes, each once, with their domains in alphabetical order."""
        return list(dict.fromkeys(tuple(sorted(mix)) for mix in self.mixes(data.target, data.sources)))

    def artefacts(self, data: TrainingData, budget: Budget, seed: int) -> list[Artefact]:
        """The artefact of each component."""
        return [
            self.head.component(data, each.mix, budget, seed + each.seed, each.times) for each in self.trainings(data)
        ]

    def trainings(self, data: TrainingData) -> list[Training]:
        """How each component is trained."""
        mixes, count = self.distinct_mixes(data), len(data.sources) + 1
        if self.repeat == "seeds":
            return [Training(mix, seed=_SEED_STRIDE * number) for mix in mixes for number in range(count)]
        return [Training(mix, times=count if self.repeat == "longer" else 1) for mix in mixes]

    def components(self, data: TrainingData, context: FitContext) -> list[Component]:
        """The trained components; those that are not in the store yet are trained."""
        return [
            Component(training.mix, context.artefacts.get_or_train(artefact), artefact)
            for training, artefact in zip(
                self.trainings(data), self.artefacts(data, context.budget, context.seed), strict=True
            )
        ]

    def fit(self, data: TrainingData, context: FitContext) -> Scorer:
        """Train the components, merge them, fold the merge into the base model, and serve it."""
        model, tokenizer = self.merged_model(data, context)
        return self.head.scorer(model.to(context.device), tokenizer, data.target_domain, context.seed, context.device)

    def merged_model(self, data: TrainingData, context: FitContext, export: bool = False) -> tuple[nn.Module, Any]:
        """The merged model, in the base model's shape, and its tokenizer.

        Args:
            data: train and validation of the scenario.
            context: of the fit.
            export: in the form that others load.
        """
        components = self.components(data, context)
        merged = self.rule.merge(components, self._merge_context(data, context)) if components else {}
        model, tokenizer = self.head.load(export)
        return fold(model, merged), tokenizer

    def export(self, data: TrainingData, context: FitContext, folder: Path) -> None:
        """Write the merged model as a plain Hugging Face folder: weights as safetensors, tokenizer,
        model card, and files that say how it scores."""
        model, tokenizer = self.merged_model(data, context, export=True)
        labels = [artefact.label for artefact in self.artefacts(data, context.budget, context.seed)]
        save_model(model, tokenizer, folder, self.backbone.name, [f"{label} ({self.rule.name})" for label in labels])
        with (folder / "README.md").open("a", encoding="utf-8") as card:
            card.write(self.head.write_files(folder, context.seed))

    def diagnose(self, data: TrainingData, context: FitContext, report: StepCallback) -> list[DiagnosticTable]:
        """Diagnostics of why the merge scores as it does."""
        components = self.components(data, context)
        merging = self._merge_context(data, context)

        def vectors_of(name: str) -> Floats32:
            domain = data.domains[name]
            encoder = self.head.text_encoder(merging.model, merging.tokenizer, domain, context.device)
            return prefix_vectors(encoder, domain)

        return diagnose(merging, vectors_of, components, self.head.settings.cap, report)

    def _merge_context(self, data: TrainingData, context: FitContext) -> MergeContext:
        return MergeContext(data, self.head, context.seed, context.device, context.artefacts)


@cache
def _settings_type(head: Any, rule: Any) -> Any:
    """The settings of a head, with those of a rule as the field `rule`."""
    return make_dataclass("Settings", [("rule", rule, field(kw_only=True))], bases=(head,), frozen=True)
