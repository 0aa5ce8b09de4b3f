"""WeaveRec: the target's component and one hybrid for each source, merged by weighted averaging.

Hou et al., "WeaveRec: An LLM-Based Cross-Domain Sequential Recommendation Framework with Model Merging",
arXiv 2510.26546, 2025.
"""

from harness.methods.api import Method
from weaverec.merging.rules import chosen_weights
from weaverec.retriever.method import Merged, Mix


def hybrids(target: str, sources: tuple[str, ...]) -> list[Mix]:
    """WeaveRec's mixes: T, and T + S of each source S."""
    return [(target,), *((target, source) for source in sources)]


def weaverec() -> Method:
    """WeaveRec with equal weights 1 / (m + 1), its authors' default."""
    return Merged(mixes=hybrids)


def weaverec_chosen() -> Method:
    """WeaveRec with weights on the simplex, chosen on validation."""
    return Merged(mixes=hybrids, rule=chosen_weights())


def weaverec_adaptive() -> Method:
    """WeaveRec with weights by layer that minimise the entropy of its predictions (AdaMerging's objective)."""
    return Merged(mixes=hybrids, rule=None)
