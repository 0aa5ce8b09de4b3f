from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.anova import AnovaRM
from statsmodels.stats.multicomp import pairwise_tukeyhsd

from harness.protocol.significance import (
    SeedSpread,
    all_pairs,
    groups,
    mean_interval,
    mean_over_tables,
    rank_intervals,
    seed_spread,
    simultaneous_p_values,
)

#: Seeds only shuffle which users are served well.
NO_SPREAD = SeedSpread()


def p_value(differences: np.ndarray, **options) -> float:
    """p-value of one difference of two rows with one seed."""
    values = np.stack([differences, 0 * differences])[:, None]
    return float(simultaneous_p_values(values, np.array([[1.0, -1.0]]), **options)[0])


def test_one_seed_gives_the_t_interval_over_users() -> None:
    values = np.random.default_rng(0).random((1, 40))
    interval = mean_interval(values)
    low, high = stats.t.interval(0.95, 39, values.mean(), stats.sem(values[0]))
    assert (interval.mean - interval.half_width, interval.mean + interval.half_width) == pytest.approx((low, high))


def test_equal_values_have_no_width() -> None:
    assert mean_interval(np.full((3, 10), 0.25)).half_width == 0


def test_one_user_gives_an_infinite_interval() -> None:
    assert mean_interval(np.array([[0.5], [0.5]])).half_width == np.inf


def test_the_interval_of_seeds_alone_is_that_of_their_means() -> None:
    """Where users do not differ, the interval is Student's over the means of seeds."""
    rng = np.random.default_rng(1)
    values = rng.normal(0, 1, (4, 1)) + rng.normal(0, 1e-3, (4, 5000))
    interval = mean_interval(values)
    expected = stats.t.ppf(0.975, 3) * stats.sem(values.mean(axis=1))
    assert interval.half_width == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("user_sd", "seed_sd"), [(1.0, 0.0), (1.0, 0.05), (0.3, 0.3), (0.0, 0.1)])
def test_coverage_of_intervals(user_sd: float, seed_sd: float) -> None:
    """With the spread between seeds known from many rows."""
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(150):
        values = rng.normal(0, user_sd, (8, 1, 80)) + rng.normal(0, seed_sd, (8, 3, 1)) + rng.normal(0, 0.3, (8, 3, 80))
        spread = seed_spread(values)
        intervals = [mean_interval(row, spread) for row in values]
        covered += [abs(interval.mean) <= interval.half_width for interval in intervals]
    assert 0.93 <= np.mean(covered) <= 0.97


def test_the_ratio_is_that_of_a_two_way_analysis_of_variance() -> None:
    import pandas as pd

    values = np.random.default_rng(2).random((1, 3, 20)) + np.array([0, 0.2, 0.4])[:, None]
    seeds, users = np.indices((3, 20))
    frame = pd.DataFrame({"value": values.ravel(), "seed": seeds.ravel(), "user": users.ravel()})
    table = AnovaRM(frame, "value", "user", within=["seed"]).fit().anova_table
    spread = seed_spread(values)
    assert spread.ratio == pytest.approx(table["F Value"].iloc[0])
    assert spread.freedom == pytest.approx(table["Num DF"].iloc[0])


def test_equal_rows_add_no_degrees_of_freedom() -> None:
    values = np.random.default_rng(3).random((1, 3, 50))
    alone, constant = seed_spread(values), np.ones((2, 3, 50))
    assert seed_spread(np.concatenate([values, values, constant])).freedom == pytest.approx(alone.freedom)
    independent = np.random.default_rng(4).random((6, 3, 5000))
    assert seed_spread(independent).freedom == pytest.approx(12, rel=0.02)
    assert seed_spread(constant) == seed_spread(values[:, :1]) == NO_SPREAD


def test_all_sign_patterns_are_used_if_they_are_few() -> None:
    # Of 16 sign patterns only two are as extreme: all plus and all minus.
    assert p_value(np.array([0.8, 0.7, 0.6, 0.5])) == pytest.approx(2 / 16)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 8), min_size=3, max_size=3), min_size=1, max_size=10))
def test_p_values_of_few_users_against_all_sign_patterns(users: list[list[int]]) -> None:
    values = np.array(users, dtype=float).T / 8
    pairs = list(combinations(range(3), 2))
    differences = np.array([values[i] - values[j] for i, j in pairs])
    scale = np.sqrt((differences**2).sum(axis=1))
    scale[scale == 0] = np.inf
    signs = np.array(list(product([1, -1], repeat=values.shape[1])))
    largest = (np.abs(signs @ differences.T) / scale).max(axis=1)
    observed = np.abs(differences.sum(axis=1)) / scale
    expected = [np.mean(largest >= one * (1 - 1e-6) - 1e-6) for one in observed]
    p_values = all_pairs(values[:, None])
    assert [p_values[pair] for pair in pairs] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("differing", "p"),
    [([], 1.0), ([0.5], 1.0), ([-0.5], 1.0), ([0.5, 0.5], 0.5), ([0.5, -0.5], 1.0), ([0.5, -0.1], 1.0)],
)
def test_two_methods_that_differ_for_one_or_two_users(differing: list[float], p: float) -> None:
    assert p_value(np.array([*differing, *[0.0] * 198])) == pytest.approx(p)


def test_one_pair_agrees_with_scipys_permutation_test() -> None:
    rng = np.random.default_rng(5)
    for shift in (0.01, 0.02, 0.03):
        differences = rng.normal(shift, 0.2, 300)
        test = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=9999, vectorized=True,
            random_state=np.random.default_rng(2),
        )  # fmt: skip
        assert p_value(differences) == pytest.approx(test.pvalue, abs=0.02)


def test_pairs_of_normal_rows_agree_with_tukeys_test() -> None:
    """Independent normal rows with equal variances are what Tukey's own test is for."""
    rng = np.random.default_rng(6)
    values = rng.normal(0, 1, (6, 400)) + np.linspace(0, 0.3, 6)[:, None]
    p_values = all_pairs(values[:, None])
    assert p_values == pytest.approx(stats.tukey_hsd(*values).pvalue, abs=0.05)
    flat = pairwise_tukeyhsd(values.ravel(), np.repeat(np.arange(6), 400)).pvalues
    assert p_values[np.triu_indices(6, 1)] == pytest.approx(flat, abs=0.05)


def test_the_critical_value_of_all_pairs_is_the_studentised_range() -> None:
    """Also where a part of the variance is between seeds, and estimated."""
    rng = np.random.default_rng(7)
    values = rng.normal(0, 1, (8, 3, 300)) + rng.normal(0, 0.1, (8, 3, 1))
    spread = seed_spread(values)
    assert spread.ratio > 2
    p_values = all_pairs(values, spread)
    differences = values[:, None] - values[None]
    for i, j in combinations(range(8), 2):
        # Half-widths are t quantiles times standard errors; a table of many rows has nearly those of its spread alone.
        interval = mean_interval(differences[i, j], spread)
        t = stats.t.ppf(0.975, spread.freedom) * abs(interval.mean) / interval.half_width
        assert p_values[i, j] == pytest.approx(stats.studentized_range.sf(t * 2**0.5, 8, spread.freedom), abs=0.08)


def test_the_spread_between_seeds_makes_p_values_larger() -> None:
    rng = np.random.default_rng(8)
    values = rng.normal(0, 0.3, (4, 3, 500)) + np.array([0, 0, 0, 0.04])[:, None, None]
    without = all_pairs(values, NO_SPREAD)[0, 3]
    assert without < all_pairs(values, SeedSpread(3.0))[0, 3] < all_pairs(values, SeedSpread(3.0, 4))[0, 3]


def test_a_copy_of_a_row_hides_no_difference() -> None:
    """As where weights chosen by validation give the target's component all the weight."""
    rng = np.random.default_rng(5)
    values = rng.random((4, 3, 200)) + rng.normal(0, 0.01, (4, 3, 1))
    values[0] += 0.3
    values[3] = values[2]
    spread = SeedSpread(2.0, 20.0)
    assert (all_pairs(values, spread)[0, 1:] < 0.01).all()
    assert all_pairs(values, spread)[2, 3] == 1


def test_equal_rows_never_differ() -> None:
    row = np.random.default_rng(9).random((1, 3, 100))
    p_values = all_pairs(np.concatenate([row, row, row + 1]))
    assert p_values[0, 1] == 1
    assert p_values[0, 2] < 0.001


def test_no_contrasts_have_no_p_values() -> None:
    assert simultaneous_p_values(np.ones((1, 2, 9)), np.empty((0, 1))).shape == (0,)


def test_persons_of_several_tables_have_one_value() -> None:
    rng = np.random.default_rng(10)
    users = [np.array([0, 1, 2, 3]), np.array([2, 5, 4])]
    tables = [rng.random((2, 3, len(own))) for own in users]
    values = mean_over_tables(tables, users)
    assert values.shape == (2, 3, 6)
    expected = np.mean([of.mean(axis=2) for of in tables], axis=0)
    assert values.mean(axis=2) == pytest.approx(expected)
    alone = mean_over_tables([tables[0]], [users[0][::-1]])
    assert alone == pytest.approx(tables[0][:, :, ::-1])
    # Two tables of the same persons have the interval of the persons' means, not a narrower one.
    same = mean_over_tables([tables[0], tables[0]], [users[0]] * 2)
    widths = [mean_interval(of[0]).half_width for of in (same, tables[0])]
    assert widths[0] == pytest.approx(widths[1])


def test_ranks_count_the_rows_that_are_better_and_worse_beyond_doubt() -> None:
    differ = np.zeros((4, 4), dtype=bool)
    for i, j in ((0, 2), (0, 3), (1, 3)):
        differ[i, j] = differ[j, i] = True
    assert rank_intervals(np.array([0.4, 0.3, 0.2, 0.1]), differ) == [(1, 2), (1, 3), (2, 4), (3, 4)]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**15 - 1))
def test_groups_are_the_largest_sets_without_a_difference(n_rows: int, bits: int) -> None:
    differ = np.zeros((n_rows, n_rows), dtype=bool)
    for number, (i, j) in enumerate(combinations(range(n_rows), 2)):
        differ[i, j] = differ[j, i] = bits >> number & 1
    sets = [
        set(rows)
        for size in range(1, n_rows + 1)
        for rows in combinations(range(n_rows), size)
        if not any(differ[pair] for pair in combinations(rows, 2))
    ]
    largest = sorted(sorted(one) for one in sets if not any(one < other for other in sets))
    assert groups(differ) == largest


def test_differences_of_rows_are_tested_as_any_other_contrasts() -> None:
    """A contrast times two has the same p-value, but is no difference of two rows."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 3, 60)) + rng.normal(size=60) + np.arange(5)[:, None, None] / 10
    contrasts = np.eye(5)[[0, 0, 3]] - np.eye(5)[[1, 4, 2]]
    p_values = simultaneous_p_values(values, contrasts)
    assert np.array_equal(p_values, simultaneous_p_values(values, 2 * contrasts))
    assert len(set(p_values)) > 1
