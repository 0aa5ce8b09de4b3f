"""The baselines on WeaveRec's own backbone: the same training and merge, with other training mixes."""

from harness.method import Method
from weaverec.averaging import ComponentAverage, load_space


def zero_shot() -> Method:
    """The base model as it is."""
    return ComponentAverage(mixes=lambda _, __: [], space=load_space("zero-shot"))


def target_only() -> Method:
    """One component, on the target alone."""
    return ComponentAverage(mixes=lambda target, _: [(target,)])


def joint() -> Method:
    """Naive joint training: one component on the union of the target and all sources.

    With one source this is WeaveRec's hybrid, and is trained once for both.
    """
    return ComponentAverage(mixes=lambda target, sources: [(target, *sources)])


def naive_merge() -> Method:
    """Naive merging: the mean of a component of the target and one of each source, each on its own domain."""
    return ComponentAverage(mixes=lambda target, sources: [(target,), *((source,) for source in sources)])
