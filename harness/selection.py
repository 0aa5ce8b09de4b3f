"""The one stopping rule and the one way to choose between trials, for every trained method."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from harness.errors import HarnessError
from harness.method import TrainingRecord, Trial
from harness.protocol.scenario import Budget

State = TypeVar("State")


@dataclass
class BestByValidation(Generic[State]):
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

    def see(self, score: float, step: int, state: Callable[[], State]) -> bool:
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
        return self._since < self.patience

    def trial(self, settings: Mapping[str, Any], steps: int) -> Trial:
        """This training as a record."""
        return Trial(settings, tuple(self.curve), steps, self.best_step)


def best_trial(
    candidates: Sequence[Mapping[str, Any]],
    budget: Budget,
    train: Callable[[Mapping[str, Any]], tuple[Trial, State]],
    trainable_parameters: Callable[[State], int],
    notes: Mapping[str, Any],
) -> tuple[TrainingRecord, State]:
    """Trains with the first `budget.trials` settings and keeps the best by validation; ties go to the earlier.

    Raises:
        HarnessError: there are fewer settings than the budget has trials: the method would have less than others.
    """
    if len(candidates) < budget.trials:
        raise HarnessError(
            f"The budget has {budget.trials} trials, but the method has only {len(candidates)} settings to try.",
            "Lower the suite's trials, or give the method more learning rates.",
        )
    outcomes = [train(settings) for settings in candidates[: budget.trials]]
    trials = tuple(trial for trial, _ in outcomes)
    chosen = max(range(len(trials)), key=lambda i: (max(trials[i].validation), -i))
    kept = outcomes[chosen][1]
    return TrainingRecord(trials, chosen, trainable_parameters(kept), notes), kept
