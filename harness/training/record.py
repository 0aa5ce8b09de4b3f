"""What a training did, as results keep it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TrainingRecord:
    """What a training did; part of every result that used what it made.

    Attributes:
        validation: NDCG@10 on validation after each evaluation, in order.
        steps: optimiser steps made.
        best_step: the step whose weights were kept.
        trainable_parameters: number of weights that were trained.
        notes: what a reader of the result should know, such as which training path was taken.
    """

    validation: tuple[float, ...]
    steps: int
    best_step: int
    trainable_parameters: int
    notes: Mapping[str, Any]
