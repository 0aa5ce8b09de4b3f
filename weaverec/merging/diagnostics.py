"""Diagnostics of a merge: the quantities of WeaveRec's theory that can be measured.

The target error of a weighted combination is bounded by the components' weighted errors plus their divergence from
the target domain (Hou et al., arXiv 2510.26546, after Ben-David et al., 2010). Measured here, on train and validation:
each component's own score on the target; the proxy A-distance between the target and each training mix; the score
along the lines between components; and how similar the task vectors are.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import numpy as np

from harness.data.domain import Ints
from harness.methods.api import DiagnosticTable, Floats32, VectorScorer
from harness.methods.artefact import StepCallback
from harness.protocol.split import DomainTraining, Histories, TrainingData
from weaverec.merging.api import Component, MergeContext
from weaverec.merging.task_vectors import TaskVector, weighted_sum

#: Points on a line between two components, and prefixes of each side that the classifier of domains learns from.
_POINTS = (0.0, 0.25, 0.5, 0.75, 1.0)
_PREFIXES = 2000
#: Of the classifier's cross-validation.
_FOLDS = 5


def diagnose(
    context: MergeContext,
    vectors_of: Callable[[str], Floats32],
    components: Sequence[Component],
    cap: int,
    report: StepCallback,
) -> list[DiagnosticTable]:
    """All diagnostics of some components for a target.

    Args:
        context: of the merge: the base model, its validation on the target, and the data.
        vectors_of: prefixes of a domain by its name, as `prefix_vectors` gives them.
        components: what is merged.
        cap: prefixes that a training takes of each domain.
        report: called after each validation.
    """
    data = context.data
    lines = list(_lines(components, data.target))
    total = len(components) + 1 + (len(components) > 1) + sum(len(points) for _, points in lines)
    done = 0

    def score(merged: TaskVector) -> float:
        nonlocal done
        ndcg = context.validate(merged)
        done += 1
        report(done, total)
        return ndcg

    scores = [("none: the base model", score({}))]
    scores += [(component.name, score(component.task_vector)) for component in components]
    vectors = [component.task_vector for component in components]
    if len(vectors) > 1:
        scores.append(("all of them, in equal parts", score(weighted_sum(vectors, [1 / len(vectors)] * len(vectors)))))
    along = [(name, w, score(weighted_sum(vectors, weights))) for name, points in lines for w, weights in points]
    similar = [
        (f"{a.name} and {b.name}", cosine(a.task_vector, b.task_vector), sign_conflict(a.task_vector, b.task_vector))
        for a, b in combinations(components, 2)
    ]
    return _tables(scores, along, similar, list(_distances(vectors_of, components, data, cap)))


def _tables(
    scores: Sequence[tuple[str, float]],
    along: Sequence[tuple[str, float, float]],
    similar: Sequence[tuple[str, float, float]],
    distances: Sequence[tuple[str, float | str, float]],
) -> list[DiagnosticTable]:
    return [
        DiagnosticTable(
            "Each component's own score on the target",
            "Validation NDCG@10 on the target. Merging helps only when every component is already good on it. In equal "
            "parts is how `weaverec` and `naive-merge` serve them.",
            ("component", "NDCG@10"),
            tuple(scores),
        ),
        DiagnosticTable(
            "Along the lines between components",
            "Validation NDCG@10 on the target with weight 1 - w on the first and w on the second. `equal` goes from "
            "the target's component alone to the others in equal parts. A middle above both ends: they complement "
            "each other; below: they interfere.",
            ("line", "w", "NDCG@10"),
            tuple(along),
            ("w", "NDCG@10", "line"),
        ),
        DiagnosticTable(
            "How far task vectors point the same way",
            "Cosine of the task vectors over all layers, and the share of entries with opposite signs, of those that "
            "are not small (above a tenth of the layer's mean size in both).",
            ("components", "cosine", "sign conflict"),
            tuple(similar),
        ),
        DiagnosticTable(
            "Proxy A-distance between the target and each training mix",
            "2 (1 - 2 e) with e the test error of a linear classifier that tells prefixes of the target from prefixes "
            "of the mix by the vectors of the base model (a ranker's: of the model that finds its candidates): 0 where "
            "they cannot be told apart, 2 where they always can (Ben-David et al., 2007). A mix that holds the target "
            "is nearer to it by construction: with a share p of the target, the distance is 2 (1 - p) at most.",
            ("training mix", "distance", "at most"),
            tuple(distances),
        ),
    ]


def _lines(components: Sequence[Component], target: str) -> Iterator[tuple[str, list[tuple[float, list[float]]]]]:
    """Lines by name: (w, weights of all components) at each of their points."""
    n = len(components)
    for i, j in combinations(range(n), 2):
        points = []
        for w in _POINTS:
            weights = np.zeros(n)
            weights[i], weights[j] = 1 - w, w
            points.append((w, weights.tolist()))
        yield f"{components[i].name} to {components[j].name}", points
    if n > 2 and components[0].mix == (target,):
        yield "equal", [(w, [1 - w, *[w / (n - 1)] * (n - 1)]) for w in _POINTS]


def cosine(a: TaskVector, b: TaskVector) -> float:
    """The cosine of two task vectors, all layers as one vector."""
    inner, size_a, size_b = (
        math.fsum(float((x[layer] * y[layer]).sum()) for layer in x) for x, y in ((a, b), (a, a), (b, b))
    )
    return inner / math.sqrt(size_a * size_b)


def sign_conflict(a: TaskVector, b: TaskVector) -> float:
    """The share of entries with opposite signs, of those above a tenth of their layer's mean size in both."""
    opposite = counted = 0
    for layer in a:
        large = (a[layer].abs() > 0.1 * a[layer].abs().mean()) & (b[layer].abs() > 0.1 * b[layer].abs().mean())
        counted += int(large.sum())
        opposite += int((large & (a[layer].sign() != b[layer].sign())).sum())
    return opposite / max(1, counted)


def proxy_a_distance(ours: Floats32, theirs: Floats32, seed: int = 0) -> float:
    """2 (1 - 2 e): how well a linear classifier tells two samples apart, by cross-validation.

    Args:
        ours: float32 [n, d], vectors of one side.
        theirs: float32 [m, d], of the other; as many are taken of the larger side as the smaller has.
        seed: of that draw and of the folds.

    Returns:
        Between 0 (no better than chance; worse counts as chance) and 2.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    n = min(len(ours), len(theirs))
    rng = np.random.default_rng(seed)
    features = np.concatenate([side[rng.permutation(len(side))[:n]] for side in (ours, theirs)])
    labels = np.repeat([0, 1], n)
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    error = 1 - cross_val_score(LogisticRegression(max_iter=1000), features, labels, cv=folds).mean()
    return float(max(0.0, 2 * (1 - 2 * error)))


def _distances(
    vectors_of: Callable[[str], Floats32], components: Sequence[Component], data: TrainingData, cap: int
) -> Iterator[tuple[str, float | str, float]]:
    names = sorted({name for component in components for name in component.mix} | {data.target})
    sides = {name: vectors_of(name) for name in names}
    rng = np.random.default_rng(0)
    # The target's own prefixes in two halves, so that a mix that is the target has a distance of about 0.
    halves = np.array_split(rng.permutation(len(sides[data.target])), 2)
    reference, rest = (sides[data.target][half] for half in halves)
    for component in components:
        parts = [rest if name == data.target else sides[name] for name in component.mix]
        # As in training, domains take part in proportion to the prefixes that are taken of them.
        sizes = np.array([min(cap, _count(data.domains[name])) for name in component.mix], dtype=float)
        taken = np.minimum(np.floor(len(reference) * sizes / sizes.sum()).astype(int), [len(p) for p in parts])
        mixed = np.concatenate([part[: int(n)] for part, n in zip(parts, taken, strict=True)])
        few = min(len(reference), len(mixed)) < _FOLDS
        target = sum(int(n) for name, n in zip(component.mix, taken, strict=True) if name == data.target)
        most = 2 * (1 - target / max(1, len(mixed)))
        yield component.name, "too few prefixes" if few else proxy_a_distance(reference, mixed), most


def _count(domain: DomainTraining) -> int:
    return int(np.maximum(domain.train.lengths - 1, 0).sum())


def prefix_vectors(encoder: VectorScorer, domain: DomainTraining) -> Floats32:
    """The vectors of some training prefixes of a domain: float32 [n, d], in random order, one a user."""
    users: Ints = np.flatnonzero(domain.train.lengths > 1)
    rng = np.random.default_rng(0)
    drawn = rng.permutation(users)[: 2 * _PREFIXES]
    sequences = domain.train.select(drawn)
    prefixes = sequences.where(sequences.from_end >= 1)  # the items before the last training event
    return encoder.history_vectors(Histories(drawn, prefixes))
