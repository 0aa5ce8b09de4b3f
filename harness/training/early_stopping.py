"""Early stopping on validation NDCG@10, the same for every trained method."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from harness.training.record import TrainingRecord

State = TypeVar("State")


@dataclass
class EarlyStopping(Generic[State]):
    """Keeps the state with the highest validation NDCG@10, and decides when to stop.

    Attributes:
        patience: validations without improvement after which training stops.
        curve: NDCG@10 of each validation.
        best_step: optimiser steps made before the best validation.
        state: the state at the best validation.
    """

    patience: int
    curve: list[float] = field(default_factory=list)
    best_step: int = 0
    state: State | None = None
    _since_best: int = 0

    def update(self, score: float, step: int, state: Callable[[], State]) -> bool:
        """Record a validation.

        Args:
            score: NDCG@10.
            step: optimiser steps made so far.
            state: returns a copy of the current state; called only if the score is the best so far.

        Returns:
            Whether to continue training.

        Raises:
            FloatingPointError: the score is NaN, as the training diverged.
        """
        if math.isnan(score):
            raise FloatingPointError("validation NDCG@10 is NaN")
        if not self.curve or score > max(self.curve):
            self.best_step, self.state, self._since_best = step, state(), 0
        else:
            self._since_best += 1
        self.curve.append(score)
        return not self.exhausted

    def restore(self, curve: Sequence[float], best_step: int, state: State) -> None:
        """Restore the validations and the best state of an interrupted training."""
        self.curve, self.best_step, self.state = list(curve), best_step, state
        self._since_best = len(self.curve) - 1 - self.curve.index(max(self.curve))

    @property
    def exhausted(self) -> bool:
        """Whether `patience` validations in a row brought no improvement."""
        return self._since_best >= self.patience

    def record(self, steps: int, trainable_parameters: int, notes: Mapping[str, Any]) -> TrainingRecord:
        """The training record of this run."""
        return TrainingRecord(tuple(self.curve), steps, self.best_step, trainable_parameters, notes)
