import pytest

from harness.errors import HarnessError
from harness.method import Trial
from harness.protocol.scenario import Budget
from harness.selection import BestByValidation, best_trial


def test_the_best_state_is_kept_and_patience_counts_from_it() -> None:
    best = BestByValidation[int](patience=2)
    went_on = [best.see(score, step, lambda step=step: step) for step, score in enumerate([0.1, 0.3, 0.2, 0.3])]
    assert went_on == [True, True, True, False]
    assert (best.state, best.best_step, best.curve) == (1, 1, [0.1, 0.3, 0.2, 0.3])


def test_a_diverged_training_is_an_error_not_a_low_score() -> None:
    with pytest.raises(FloatingPointError):
        BestByValidation[int](patience=2).see(float("nan"), 1, lambda: 1)


def outcome(settings):
    score = settings["score"]
    return Trial(settings, (score,), 1, 1), f"state {score}"


def test_the_budget_s_trials_and_no_more_are_made() -> None:
    tried = [{"score": 0.1}, {"score": 0.5}, {"score": 0.9}]
    record, state = best_trial(tried, Budget(2, 1, 1), outcome, len, {})
    assert (len(record.trials), record.chosen, state) == (2, 1, "state 0.5")


def test_equal_trials_keep_the_first() -> None:
    record, _ = best_trial([{"score": 0.5}, {"score": 0.5}], Budget(2, 1, 1), outcome, len, {})
    assert record.chosen == 0


def test_fewer_settings_than_trials_is_an_unequal_budget() -> None:
    with pytest.raises(HarnessError, match="only 1 settings"):
        best_trial([{"score": 0.5}], Budget(2, 1, 1), outcome, len, {})
