"""WeaveRec: the target's component and one hybrid for each source, merged by weighted averaging.

Hou et al., "WeaveRec: An LLM-Based Cross-Domain Sequential Recommendation Framework with Model Merging",
arXiv 2510.26546, 2025. The base weights W0 stay frozen; T is the target domain, S_1 ... S_m are the sources.

1. *Components.* A LoRA is trained on T alone, and one *hybrid* on a mix of T and S_i for each source (`hybrids`). How a
   component is trained: `weaverec.retriever.train`, or `weaverec.ranker.train` with the ranker head. A hybrid of T and
   S is also that of S and T, and is trained once for both.
2. *Merge.* dW = lambda_0 dW_T + sum_i lambda_i dW_{T,S_i}, with sum lambda = 1 and dW = (alpha / r) B A of each
   component (`weaverec.merging.task_vectors`). By default all weights are 1 / (m + 1).
3. *Fold.* W0 + dW has the shape of W0, so serving it costs what serving the base model costs
   (`weaverec.merging.method.MergedModel.fit`).
"""

from weaverec.merging.adamerging import EntropyWeights
from weaverec.merging.api import Mix
from weaverec.merging.method import MergedModel
from weaverec.merging.rules import EqualWeights, chosen_weights


def hybrids(target: str, sources: tuple[str, ...]) -> list[Mix]:
    """The mixes of WeaveRec's components: T, and T + S of each source S."""
    return [(target,), *((target, source) for source in sources)]


def weaverec() -> MergedModel:
    """WeaveRec with equal weights 1 / (m + 1), its authors' default."""
    return MergedModel(hybrids, EqualWeights())


def weaverec_chosen() -> MergedModel:
    """WeaveRec with weights on the simplex, chosen on validation."""
    return MergedModel(hybrids, chosen_weights())


def weaverec_adaptive() -> MergedModel:
    """WeaveRec with layer-wise weights that minimise the entropy of its predictions (AdaMerging's objective)."""
    return MergedModel(hybrids, EntropyWeights())


def weaverec_by_rule(rule: str) -> MergedModel:
    """WeaveRec's components merged by an installed rule: `weaverec.ties`, `weaverec.<your rule>`.

    Its declared parameters are settings: `settings: {weaverec.ties: {rule: {density: 0.5}}}`.

    Raises:
        HarnessError: there is no such rule.
    """
    return weaverec().with_rule(rule)
