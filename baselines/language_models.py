"""The baselines on WeaveRec's own backbone: the same training, with other mixes or other rules of merging."""

from harness.methods.api import Method
from harness.tuning.space import Space
from weaverec.merging.rules import dare as dare_rule
from weaverec.merging.rules import magnitude_pruning, task_arithmetic
from weaverec.merging.rules import ties as ties_rule
from weaverec.retriever.method import Merged, Mix


def each_alone(target: str, sources: tuple[str, ...]) -> list[Mix]:
    """The mixes of naive merging: every domain by itself."""
    return [(target,), *((source,) for source in sources)]


def zero_shot() -> Method:
    """The base model as it is."""
    return Merged(mixes=lambda _, __: [], space=Space.of_package("weaverec", "zero-shot"))


def target_only() -> Method:
    """One component, on the target alone."""
    return Merged(mixes=lambda target, _: [(target,)])


def source_only() -> Method:
    """The mean of the sources' components, without the target's: how good a recommender for T the sources make."""
    return Merged(mixes=lambda _, sources: [(source,) for source in sources])


def joint() -> Method:
    """Naive joint training: one component on the union of the target and all sources.

    With one source this is WeaveRec's hybrid, and is trained once for both.
    """
    return Merged(mixes=lambda target, sources: [(target, *sources)])


def naive_merge() -> Method:
    """Naive merging: the mean of a component of the target and one of each source, each on its own domain."""
    return Merged(mixes=each_alone)


def task_vectors() -> Method:
    """Task arithmetic on the components of naive merging (Ilharco et al., ICLR 2023)."""
    return Merged(mixes=each_alone, rule=task_arithmetic())


def ties() -> Method:
    """TIES on the components of naive merging (Yadav et al., NeurIPS 2023)."""
    return Merged(mixes=each_alone, rule=ties_rule())


def dare() -> Method:
    """DARE on the components of naive merging (Yu et al., ICML 2024)."""
    return Merged(mixes=each_alone, rule=dare_rule())


def adamerging() -> Method:
    """AdaMerging on the components of naive merging: weights by layer that make predictions the surest.

    Yang et al., ICLR 2024; `weaverec.merging.search.chosen_by_entropy` says how it is done here.
    """
    return Merged(mixes=each_alone, rule=None)


def pruned_merge() -> Method:
    """The mean of the components of naive merging, the small entries of each left out."""
    return Merged(mixes=each_alone, rule=magnitude_pruning())
