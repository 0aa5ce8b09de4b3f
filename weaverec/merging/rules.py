"""Built-in merging rules: from components' task vectors and a few parameters to one task vector.

Sign election and dropping are PEFT's own functions, applied to whole task vectors dW = (alpha / r) B A.
(PEFT's `add_weighted_adapter` applies them to A and B separately, which is not the same; see
`weaverec.merging.task_vectors`.) Rules whose parameters are chosen on validation are at the end.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Gt, Le

from harness.errors import HarnessError
from weaverec.merging.api import Component, MergeContext
from weaverec.merging.search import TRIES, GridSearch, Parameters
from weaverec.merging.task_vectors import LayerByLayer, TaskVector, weighted_sum


@dataclass(frozen=True)
class EqualWeights:
    """The mean of the task vectors: lambda_i = 1 / n. The softmax of equal numbers, as WeaveRec's authors have it.

    Hou et al., arXiv 2510.26546 (2025); Wortsman et al., "Model soups", ICML 2022.
    """

    name = "equal weights"

    def merge(self, components: Sequence[Component], context: MergeContext) -> TaskVector:  # noqa: ARG002
        """sum_i dW_i / n."""
        return weighted_sum(_vectors(components), [1 / len(components)] * len(components))


@dataclass(frozen=True)
class Weighted:
    """A weighted sum of the task vectors.

    Attributes:
        weights: one for each component, the target's first, then the sources' in the scenario's order.
    """

    weights: tuple[float, ...] = ()
    name = "weights"

    def merge(self, components: Sequence[Component], context: MergeContext) -> TaskVector:  # noqa: ARG002
        """sum_i weights_i * dW_i.

        Raises:
            HarnessError: the number of weights is not that of the components.
        """
        if len(self.weights) != len(components):
            names = ", ".join(component.name for component in components)
            raise HarnessError(
                f"rule.weights: {len(self.weights)} weights for {len(components)} components ({names}).",
                "Give one weight for each component.",
            )
        return weighted_sum(_vectors(components), self.weights)


@dataclass(frozen=True)
class TaskArithmetic:
    """The sum of the task vectors times a number (Ilharco et al., ICLR 2023).

    Attributes:
        scale: the factor.
    """

    scale: float = 0.4
    name = "task arithmetic"

    def merge(self, components: Sequence[Component], context: MergeContext) -> TaskVector:  # noqa: ARG002
        """scale * sum_i dW_i."""
        return weighted_sum(_vectors(components), [self.scale] * len(components))


@dataclass(frozen=True)
class TargetScaled:
    """The target component's task vector times a number: a control for what a merge gains or loses by its size.

    Attributes:
        scale: the factor.
    """

    scale: float = 1.0
    name = "target scaled"

    def merge(self, components: Sequence[Component], context: MergeContext) -> TaskVector:  # noqa: ARG002
        """scale * dW_T."""
        return weighted_sum(_vectors(components[:1]), [self.scale])


@dataclass(frozen=True)
class RandomMerge:
    """The mean of the target's component and random LoRAs: a control for what merging with noise does.

    Each other component is replaced by a product B A of normal draws that has the component's norm in each layer.

    Attributes:
        rank: of the random LoRAs.
        seed: of the draws, beside the run's.
    """

    rank: Annotated[int, Ge(1)] = 16
    seed: Annotated[int, Ge(0)] = 0
    name = "random merge"

    def merge(self, components: Sequence[Component], context: MergeContext) -> TaskVector:
        """(dW_T + sum_i R_i) / n with |R_i| = |dW_i| in each layer."""
        target, *others = _vectors(components)
        seeds = [(context.seed, self.seed, number) for number in range(len(others))]
        noise = [_random_like(vector, seed, self.rank) for vector, seed in zip(others, seeds, strict=True)]
        return weighted_sum([target, *noise], [1 / len(components)] * len(components))


@dataclass(frozen=True)
class Ties:
    """Keep the largest entries, elect each entry's sign by their sum, average those of that sign; times a number.

    Yadav et al., "TIES-Merging", NeurIPS 2023.

    Attributes:
        density: share of each layer's entries that is kept.
        scale: factor of the result.
    """

    density: Annotated[float, Gt(0), Le(1)] = 0.2
    scale: float = 1.0
    name = "TIES"

    def merge(self, components: Sequence[Component], context: MergeContext) -> TaskVector:  # noqa: ARG002
        """The disjoint mean of the trimmed task vectors, times `scale`."""
        from peft.utils.merge_utils import calculate_majority_sign_mask, disjoint_merge

        def merged(layers: torch.Tensor) -> torch.Tensor:
            trimmed = _largest(layers, self.density)
            mean: torch.Tensor = disjoint_merge(trimmed, calculate_majority_sign_mask(trimmed))
            return self.scale * mean

        return _of_stacked_layers(merged, components)


@dataclass(frozen=True)
class Dare:
    """Drop entries at random, scale the others up, average (Yu et al., "DARE", ICML 2024).

    Attributes:
        density: share of the entries that is kept.
        scale: factor of the result.
        seed: of the draws, beside the run's.
    """

    density: Annotated[float, Gt(0), Le(1)] = 0.1
    scale: float = 1.0
    seed: Annotated[int, Ge(0)] = 0
    name = "DARE"

    def merge(self, components: Sequence[Component], context: MergeContext) -> TaskVector:
        """The mean of the rescaled task vectors, times `scale`."""
        from peft.utils.merge_utils import dare_linear

        weights = torch.full((len(components),), self.scale / len(components))
        merged = _of_stacked_layers(lambda layers: dare_linear(list(layers), weights, self.density), components)
        # Draws follow the order of the layers, so all layers are merged here. A large model needs as much memory as
        # its adapted layers have in float32.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_torch_seed((context.seed, self.seed)))
            return dict(merged)


@dataclass(frozen=True)
class MagnitudePruning:
    """Keep the largest entries of each task vector, average (Han et al., NeurIPS 2015, as PEFT applies it to merging).

    Attributes:
        density: share of each layer's entries that is kept.
        scale: factor of the result.
    """

    density: Annotated[float, Gt(0), Le(1)] = 0.5
    scale: float = 1.0
    name = "magnitude pruning"

    def merge(self, components: Sequence[Component], context: MergeContext) -> TaskVector:  # noqa: ARG002
        """The mean of the pruned task vectors, times `scale`."""
        return _of_stacked_layers(lambda layers: self.scale * _largest(layers, self.density).mean(0), components)


def _vectors(components: Sequence[Component]) -> list[TaskVector]:
    return [component.task_vector for component in components]


def _torch_seed(seeds: tuple[int, ...]) -> int:
    return int(np.random.default_rng(seeds).integers(2**63))


def _random_like(vector: TaskVector, seed: tuple[int, ...], rank: int) -> TaskVector:
    """A product B A of normal draws, with each layer's shape and norm."""

    def draw(number: int, layer: str) -> torch.Tensor:
        weight = vector[layer].float()
        generator = torch.Generator().manual_seed(_torch_seed((*seed, number)))
        b = torch.randn(weight.shape[0], rank, generator=generator)
        a = torch.randn(rank, weight.shape[1], generator=generator)
        product = b @ a
        random: torch.Tensor = product * (weight.norm() / product.norm())
        return random

    return LayerByLayer({layer: partial(draw, number, layer) for number, layer in enumerate(vector)})


def _of_stacked_layers(merge: Callable[[torch.Tensor], torch.Tensor], components: Sequence[Component]) -> TaskVector:
    """A function of each layer's n task vectors, float32 [n, d_out, d_in], computed on access."""
    vectors = _vectors(components)

    def merged(layer: str) -> torch.Tensor:
        return merge(torch.stack([vector[layer].float() for vector in vectors]))

    return LayerByLayer({layer: partial(merged, layer) for layer in vectors[0]})


def _largest(layers: torch.Tensor, density: float) -> torch.Tensor:
    """The entries of each of n layers with the largest magnitudes, and 0 in place of the others: [n, d_out, d_in].

    PEFT's function keeps the same entries, and spends most of its time on sorting them.

    Args:
        layers: [n, d_out, d_in].
        density: share of each layer's entries that is kept.
    """
    flat = layers.flatten(1)
    kept = flat.abs().topk(int(density * flat.shape[1]), sorted=False).indices
    return torch.zeros_like(flat).scatter(1, kept, flat.gather(1, kept)).view_as(layers)


def chosen_weights() -> GridSearch:
    """Weights on the simplex, chosen on validation: between equal weights and single components, the first one most."""
    return GridSearch(Weighted(), _simplex, "chosen weights")


def chosen_target_scale() -> GridSearch:
    """The target's component, with its scale chosen on validation."""
    return GridSearch(TargetScaled(), [{"scale": scale} for scale in (1.0, 0.4, 0.6, 0.8, 1.25, 1.5)])


def chosen_task_arithmetic() -> GridSearch:
    """Task arithmetic, with the factor chosen on validation."""
    return GridSearch(TaskArithmetic(), [{"scale": scale} for scale in (0.2, 0.3, 0.4, 0.6, 0.8, 1.0)])


def chosen_ties() -> GridSearch:
    """TIES, with its parameters chosen on validation."""
    return GridSearch(Ties(), [{"density": d, "scale": s} for d in (0.2, 0.5, 0.8) for s in (0.5, 1.0)])


def chosen_dare() -> GridSearch:
    """DARE, with its parameters chosen on validation."""
    return GridSearch(Dare(), [{"density": d, "scale": s} for d in (0.3, 0.6, 0.9) for s in (0.5, 1.0)])


def chosen_magnitude_pruning() -> GridSearch:
    """Magnitude pruning, with its parameters chosen on validation."""
    return GridSearch(MagnitudePruning(), [{"density": d, "scale": s} for d in (0.2, 0.5, 0.8) for s in (0.5, 1.0)])


def _simplex(n: int) -> list[Parameters]:
    """The `TRIES` points of the simplex that a search looks at.

    Equal weights; the first component alone, which is the target's; half of the way between the two; half of the way
    from equal weights to each other component; three quarters of the way to the first; the others alone; then draws
    from the whole simplex.
    """
    equal, corners = np.full(n, 1 / n), np.eye(n)
    halves = [(equal + corner) / 2 for corner in corners]
    points = [equal, corners[0], *halves, 0.25 * equal + 0.75 * corners[0], *corners[1:]]
    points += list(np.random.default_rng(0).dirichlet(np.ones(n), TRIES))
    # Points that differ by rounding are one; each is kept as exact as it is.
    distinct: dict[tuple[float, ...], Parameters] = {}
    for point in points:
        distinct.setdefault(tuple(np.round(point, 4).tolist()), {"weights": point.tolist()})
    return list(distinct.values())[:TRIES]
