"""The baselines on WeaveRec's backbone: the same training, with other mixes or other merging rules."""

from harness.tuning.space import Space
from weaverec.merging.adamerging import EntropyWeights
from weaverec.merging.api import Mix
from weaverec.merging.method import MergedModel
from weaverec.merging.rules import (
    RandomMerge,
    chosen_dare,
    chosen_magnitude_pruning,
    chosen_target_scale,
    chosen_task_arithmetic,
    chosen_ties,
)
from weaverec.retriever.method import RetrieverHead
from weaverec.weaverec import hybrids


def each_alone(target: str, sources: tuple[str, ...]) -> list[Mix]:
    """The mixes of naive merging: every domain by itself."""
    return [(target,), *((source,) for source in sources)]


def _target(target: str, _: tuple[str, ...]) -> list[Mix]:
    return [(target,)]


def zero_shot() -> MergedModel:
    """The base model without training."""
    return MergedModel(lambda _, __: [], head=RetrieverHead(space=Space.of_package("weaverec", "zero-shot")))


def target_only() -> MergedModel:
    """One component, on the target alone."""
    return MergedModel(_target)


def target_long() -> MergedModel:
    """Target-only with the steps of a merge of m + 1 components: a control for more training on the target."""
    return MergedModel(_target, repeat="longer")


def target_soup() -> MergedModel:
    """The mean of m + 1 target components of different seeds (Wortsman et al., ICML 2022): a control for averaging."""
    return MergedModel(_target, repeat="seeds")


def target_scaled() -> MergedModel:
    """Target-only with its task vector scaled, the factor chosen on validation: a control for the size of a merge."""
    return MergedModel(_target, chosen_target_scale())


def random_merge() -> MergedModel:
    """The target's component merged with random LoRAs of the hybrids' norms: a control for merging with noise."""
    return MergedModel(hybrids, RandomMerge())


def source_only() -> MergedModel:
    """The mean of the sources' components, without the target's: how well the sources alone recommend on the target."""
    return MergedModel(lambda _, sources: [(source,) for source in sources])


def joint() -> MergedModel:
    """Naive joint training: one component on the union of the target and all sources.

    With one source this is WeaveRec's hybrid, and is trained once for both.
    """
    return MergedModel(lambda target, sources: [(target, *sources)])


def naive_merge() -> MergedModel:
    """Naive merging: the mean of a component of the target and one of each source, each on its own domain."""
    return MergedModel(each_alone)


def naive_merge_by_rule(rule: str) -> MergedModel:
    """The components of naive merging merged by an installed rule: `merge.ties`, `merge.<your rule>`.

    A rule's parameters are those of the suite's settings or its defaults; rules such as `chosen-ties` choose them on
    validation, as the method `ties` does.

    Raises:
        HarnessError: there is no such rule.
    """
    return naive_merge().with_rule(rule)


def task_arithmetic() -> MergedModel:
    """Task arithmetic on the components of naive merging (Ilharco et al., ICLR 2023)."""
    return MergedModel(each_alone, chosen_task_arithmetic())


def ties() -> MergedModel:
    """TIES on the components of naive merging (Yadav et al., NeurIPS 2023)."""
    return MergedModel(each_alone, chosen_ties())


def dare() -> MergedModel:
    """DARE on the components of naive merging (Yu et al., ICML 2024)."""
    return MergedModel(each_alone, chosen_dare())


def pruned_merge() -> MergedModel:
    """The mean of the components of naive merging, the small entries of each left out."""
    return MergedModel(each_alone, chosen_magnitude_pruning())


def adamerging() -> MergedModel:
    """AdaMerging on the components of naive merging: layer-wise weights that minimise prediction entropy.

    Yang et al., ICLR 2024; see `weaverec.merging.adamerging`.
    """
    return MergedModel(each_alone, EntropyWeights())
