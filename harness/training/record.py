"""The record of a training run that results contain."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TrainingRecord:
    """The record of a training run; part of every result that uses the trained artefact.

    Attributes:
        validation: NDCG@10 of each validation, in order.
        steps: optimiser steps made.
        best_step: the step whose weights were kept.
        trainable_parameters: number of trained weights.
        notes: further facts for readers of the result, such as which training path was taken.
    """

    validation: tuple[float, ...]
    steps: int
    best_step: int
    trainable_parameters: int
    notes: Mapping[str, Any]
