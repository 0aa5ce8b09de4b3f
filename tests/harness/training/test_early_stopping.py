import pytest

from harness.training.early_stopping import EarlyStopping


def test_the_best_state_is_kept_and_patience_counts_from_it() -> None:
    best = EarlyStopping[int](patience=2)
    continues = [best.update(score, step, lambda step=step: step) for step, score in enumerate([0.1, 0.3, 0.2, 0.3])]
    assert continues == [True, True, True, False]
    assert (best.state, best.best_step, best.curve) == (1, 1, [0.1, 0.3, 0.2, 0.3])


def test_nan_raises() -> None:
    with pytest.raises(FloatingPointError):
        EarlyStopping[int](patience=2).update(float("nan"), 1, lambda: 1)


def test_record() -> None:
    best = EarlyStopping[str](patience=1)
    best.update(0.2, 7, lambda: "first")
    best.update(0.1, 14, lambda: "second")
    record = best.record(14, 3, {"loss": "CE"})
    assert (record.validation, record.best_step, record.steps, record.notes) == ((0.2, 0.1), 7, 14, {"loss": "CE"})
