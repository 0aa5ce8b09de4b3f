"""Methods that serve the base model plus a weighted sum of components' task vectors.

Target-only, joint, naive-merge and WeaveRec are all of this form, and differ in one thing: the training mixes of
their components. Backbone, texts, optimiser budget, selection rule and merge are the same code with the same
settings.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.method import Artefact, FitContext, Scorer
from harness.protocol.scenario import Budget
from harness.protocol.split import TrainingData
from harness.tuning.space import Space
from harness.tuning.tunable import with_settings
from weaverec.adapters import ComponentSettings, component
from weaverec.backbone import load, packaged_minilm
from weaverec.merge import fold, task_vector, weighted_sum
from weaverec.retriever import ItemTexts, retriever

#: The domains a component is trained on.
Mix = tuple[str, ...]


def load_space(name: str) -> Space:
    """A search space of this package."""
    return Space.read(Path(__file__).parent / "spaces" / f"{name}.yaml")


@dataclass(frozen=True)
class ComponentAverage:
    """Serves W0 + mean of the components' task vectors; with no component, W0 itself.

    Attributes:
        mixes: the components' training mixes, for a target and its sources.
        settings: how components are trained.
        space: what the tuner may choose of the settings.
    """

    mixes: Callable[[str, tuple[str, ...]], Sequence[Mix]]
    settings: ComponentSettings = field(default_factory=ComponentSettings)
    space: Space = field(default_factory=lambda: load_space("components"))

    def learns_from(self, target: str, sources: tuple[str, ...]) -> tuple[str, ...]:
        """The domains of its components; the target alone if nothing is trained."""
        used = {name for mix in self.mixes(target, sources) for name in mix}
        return (target, *(source for source in sources if source in used))

    def tuned(self, chosen: Mapping[str, Any]) -> "ComponentAverage":
        """The same method with settings from its space."""
        return replace(self, settings=with_settings(self.settings, chosen))

    def artefacts(self, data: TrainingData, budget: Budget, seed: int) -> list[Artefact]:
        """The components, each once."""
        mixes = dict.fromkeys(tuple(sorted(mix)) for mix in self.mixes(data.target, data.sources))
        return [component(data, mix, self.settings, budget, seed) for mix in mixes]

    def fit(self, data: TrainingData, context: FitContext) -> Scorer:
        """Trains the components that are not there yet, merges, folds, and encodes the target's catalogue."""
        needed = self.artefacts(data, context.budget, context.seed)
        vectors = [task_vector(context.artefacts.obtain(artefact)) for artefact in needed]
        model, tokenizer = load(packaged_minilm())
        if vectors:
            fold(model, weighted_sum(vectors, [1 / len(vectors)] * len(vectors)))
        own = self.settings.retriever
        texts = ItemTexts(data.target_domain.catalogue.texts, tokenizer, own.max_tokens)
        return retriever(model.to(context.device), texts, own)
