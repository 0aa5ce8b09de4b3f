"""Merging rules: from components' task vectors and a few parameters to one task vector.

Pruning, sign election and dropping are PEFT's own functions, given whole task vectors dW = scaling * B A. (PEFT's
`add_weighted_adapter` gives them A and B apart, which is another thing; see `weaverec.merging.task_vectors`.)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from weaverec.merging.task_vectors import LayerByLayer, TaskVector, weighted_sum

#: A rule's parameters, as JSON values.
Parameters = Mapping[str, float | list[float]]

#: How many parameter settings a rule that has a choice may try on validation: the same for every rule.
TRIES = 6


@dataclass(frozen=True)
class Rule:
    """A merging rule.

    Attributes:
        name: its name in results.
        source: where it comes from.
        apply: makes the merged task vector.
        choices: for a number of task vectors, the parameter settings that validation chooses among, at most `TRIES`;
            one if there is no choice.
    """

    name: str
    source: str
    apply: Callable[[Sequence[TaskVector], Parameters], TaskVector]
    choices: Callable[[int], list[Parameters]]


def equal_weights() -> Rule:
    """The mean of the task vectors: lambda_i = 1 / n. The softmax of equal numbers, as WeaveRec's authors have it."""
    return Rule(
        "equal weights",
        "Hou et al., arXiv 2510.26546 (2025); Wortsman et al., ICML 2022",
        _weighted,
        lambda n: [{"weights": [1 / n] * n}],
    )


def chosen_weights() -> Rule:
    """Weights on the simplex, chosen on validation: from equal ones towards each vector, the first one's way most."""
    return Rule("chosen weights", "Hou et al., arXiv 2510.26546 (2025), with other weights", _weighted, _simplex)


def task_arithmetic() -> Rule:
    """The sum of the task vectors times one number, chosen on validation."""
    return Rule(
        "task arithmetic",
        "Ilharco et al., ICLR 2023",
        lambda vectors, p: _weighted(vectors, {"weights": [_number(p["scale"])] * len(vectors)}),
        lambda _: [{"scale": scale} for scale in (0.2, 0.3, 0.4, 0.6, 0.8, 1.0)],
    )


def ties() -> Rule:
    """Keep the largest entries, elect each entry's sign by their sum, average those of that sign; times a number."""
    return Rule(
        "TIES",
        "Yadav et al., NeurIPS 2023",
        lambda vectors, p: _by_peft("ties", vectors, p),
        lambda _: [{"density": d, "scale": s} for d in (0.2, 0.5, 0.8) for s in (0.5, 1.0)],
    )


def dare() -> Rule:
    """Drop entries at random, scale up the others, average; the drops are drawn with a seed of their own."""
    return Rule(
        "DARE",
        "Yu et al., ICML 2024",
        lambda vectors, p: _by_peft("dare_linear", vectors, {**p, "scale": _number(p["scale"]) / len(vectors)}),
        lambda _: [{"density": d, "scale": s} for d in (0.3, 0.6, 0.9) for s in (0.5, 1.0)],
    )


def magnitude_pruning() -> Rule:
    """Keep the largest entries of each task vector, average."""
    return Rule(
        "magnitude pruning",
        "Han et al., NeurIPS 2015, as PEFT applies it to merging",
        lambda vectors, p: _by_peft("magnitude_prune", vectors, {**p, "scale": _number(p["scale"]) / len(vectors)}),
        lambda _: [{"density": d, "scale": s} for d in (0.2, 0.5, 0.8) for s in (0.5, 1.0)],
    )


def _weighted(vectors: Sequence[TaskVector], parameters: Parameters) -> TaskVector:
    weights = parameters["weights"]
    if not isinstance(weights, list):
        raise TypeError("weights must be a list")
    return weighted_sum(vectors, weights)


def _by_peft(name: str, vectors: Sequence[TaskVector], parameters: Parameters) -> TaskVector:
    from peft.utils import merge_utils

    merge = getattr(merge_utils, name)
    weights = torch.full((len(vectors),), _number(parameters["scale"]))

    def merged(layer: str) -> torch.Tensor:
        found: torch.Tensor = merge(
            [vector[layer].float() for vector in vectors], weights, _number(parameters["density"])
        )
        return found

    if "dare" not in name:
        return LayerByLayer({layer: partial(merged, layer) for layer in vectors[0]})
    # What is dropped is drawn layer after layer, so all of them are merged here: of a large model, as many bytes as its
    # layers have in float32.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {layer: merged(layer) for layer in vectors[0]}


def _number(value: float | list[float]) -> float:
    if isinstance(value, list):
        raise TypeError("a number is wanted, not a list")
    return value


def _simplex(n: int) -> list[Parameters]:
    """Where a search with `TRIES` tries looks first, and with what is left of them: `TRIES` points.

    Equal weights; the first vector alone, which is the target's component; half of the way between the two; half of
    the way from equal weights to each other vector; three quarters of the way to the first; the others alone; then
    draws from the whole simplex.
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
