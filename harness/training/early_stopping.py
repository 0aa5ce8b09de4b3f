"""The one stopping rule, for every trained method."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from harness.training.record import TrainingRecord

State = TypeVar("State")


@dataclass
class EarlyStopping(Generic[State]):
    """Keeps the state with the highest validation NDCG@10; says when to stop.

    Attributes:
        patience: validations without a gain after which training stops.
        curve: NDCG@10 after each validation.
        best_step: optimiser steps made when the kept state was seen.
        state: the kept state.
    """

    patience: int
    curve: list[float] = field(default_factory=list)
    best_step: int = 0
    state: State | None = None
    _since: int = 0

    def update(self, score: float, step: int, state: Callable[[], State]) -> bool:
        """Takes note of a validation; `state` is called (and should copy) only if the score is the best yet.

        Returns:
            Whether to go on training.

        Raises:
            FloatingPointError: the score is NaN: the training diverged.
        """
        if math.isnan(score):
            raise FloatingPointError("validation NDCG@10 is NaN")
        if not self.curve or score > max(self.curve):
            self.best_step, self.state, self._since = step, state(), 0
        else:
            self._since += 1
        self.curve.append(score)
        return not self.exhausted

    def restore(self, curve: Sequence[float], best_step: int, state: State) -> None:
        """Takes up the validations of a training that was cut off, and the state it had kept."""
        self.curve, self.best_step, self.state = list(curve), best_step, state
        self._since = len(self.curve) - 1 - self.curve.index(max(self.curve))

    @property
    def exhausted(self) -> bool:
        """Whether the patience is used up."""
        return self._since >= self.patience

    def record(self, steps: int, trainable_parameters: int, notes: Mapping[str, Any]) -> TrainingRecord:
        """This training as a record."""
        return TrainingRecord(tuple(self.curve), steps, self.best_step, trainable_parameters, notes)
