from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from harness.protocol.significance import (
    holm,
    mean_interval,
    paired_randomisation_p,
    paired_randomisation_p_values,
)


def test_one_seed_gives_the_t_interval_over_users() -> None:
    values = np.random.default_rng(0).random((1, 40))
    interval = mean_interval(values)
    low, high = stats.t.interval(0.95, 39, values.mean(), stats.sem(values[0]))
    assert (interval.mean - interval.half_width, interval.mean + interval.half_width) == pytest.approx((low, high))


def test_equal_values_have_no_width() -> None:
    assert mean_interval(np.full((3, 10), 0.25)).half_width == 0


@pytest.mark.parametrize(("user_sd", "seed_sd"), [(1.0, 0.0), (1.0, 0.05), (0.3, 0.3)])
def test_coverage_of_intervals(user_sd: float, seed_sd: float) -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(600):
        values = rng.normal(0, user_sd, (1, 80)) + rng.normal(0, seed_sd, (3, 1)) + rng.normal(0, 0.3, (3, 80))
        interval = mean_interval(values)
        covered += abs(interval.mean) <= interval.half_width
    assert covered / 600 >= 0.93


def test_randomisation_p_is_exact_on_a_few_users() -> None:
    a, b = np.array([0.9, 0.8, 0.7, 0.6]), np.array([0.1, 0.1, 0.1, 0.1])
    # Of 16 sign patterns only two are as extreme: all plus and all minus.
    assert paired_randomisation_p(a, b) == pytest.approx(2 / 16)


def test_p_values_are_symmetric_and_small_for_large_effects() -> None:
    rng = np.random.default_rng(2)
    base = rng.random(400)
    better = base + rng.normal(0.05, 0.1, 400)
    assert paired_randomisation_p(base, better) < 0.01
    assert paired_randomisation_p(better, base) < 0.01
    assert paired_randomisation_p(base, base.copy()) == 1.0


def test_false_positive_rate() -> None:
    rng = np.random.default_rng(3)
    p_values = [paired_randomisation_p(rng.random(50), rng.random(50), resamples=499, seed=i) for i in range(300)]
    assert 0.02 < np.mean(np.array(p_values) < 0.05) < 0.085


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    assert holm([0.2]) == pytest.approx(list(multipletests([0.2], method="holm")[1]))


def test_one_user_gives_an_infinite_interval() -> None:
    assert mean_interval(np.array([[0.5], [0.5]])).half_width == np.inf


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=12))
def test_p_value_of_few_users_against_all_sign_patterns(differences: list[int]) -> None:
    values = np.array(differences) / 8
    signs = np.array(list(product([1, -1], repeat=len(values))))
    exact = np.mean(np.abs(signs @ values) >= abs(values.sum()) - 1e-12)
    assert paired_randomisation_p(values, np.zeros(len(values))) == pytest.approx(exact)


@pytest.mark.parametrize(
    ("differing", "p"),
    [([], 1.0), ([0.5], 1.0), ([-0.5], 1.0), ([0.5, 0.5], 0.5), ([0.5, -0.5], 1.0), ([0.5, -0.1], 1.0)],
)
def test_two_methods_that_differ_for_one_or_two_users(differing: list[float], p: float) -> None:
    base = np.full(200, 0.25)
    other = base.copy()
    other[: len(differing)] -= differing
    assert paired_randomisation_p(base, other) == pytest.approx(p)


def test_p_values_agree_with_scipy() -> None:
    rng = np.random.default_rng(5)
    reference = rng.random(300)
    others = reference + rng.normal(0, 0.2, (6, 300)) + np.linspace(0, 0.03, 6)[:, None]
    p_values = paired_randomisation_p_values(reference, others, seed=1)
    for p, other in zip(p_values, others, strict=True):
        test = stats.permutation_test(
            (reference - other,), np.mean, permutation_type="samples", n_resamples=9999, vectorized=True,
            random_state=np.random.default_rng(2),
        )  # fmt: skip
        assert p == pytest.approx(test.pvalue, abs=0.02)
