"""Confidence intervals of figures, and tests of whether two methods differ."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MeanInterval:
    """A mean and the half-width of its 95 % confidence interval."""

    mean: float
    half_width: float


def mean_interval(values: Floats, confidence: float = 0.95) -> MeanInterval:
    """Mean and interval of a per-user metric over seeds and users, both taken as random.

    The squared standard error is that over users (of each user's mean over seeds) plus that over seeds (of each
    seed's mean over users). Their sum counts the user-by-seed part twice, which makes the interval wider. The
    quantile is Student's t with Welch and Satterthwaite's degrees of freedom.

    Args:
        values: float64 [n_seeds, n_users]; with one user the interval is infinite.
        confidence: coverage of the interval.
    """
    n_seeds, n_users = values.shape
    if n_users < 2:  # the variance over users is unknown
        return MeanInterval(float(values.mean()), math.inf)
    squares = [values.mean(axis=0).var(ddof=1) / n_users]
    freedoms = [n_users - 1]
    if n_seeds > 1:
        squares.append(values.mean(axis=1).var(ddof=1) / n_seeds)
        freedoms.append(n_seeds - 1)
    total = sum(squares)
    if total == 0:
        return MeanInterval(float(values.mean()), 0.0)
    freedom = total**2 / sum(s**2 / f for s, f in zip(squares, freedoms, strict=True))
    half = stats.t.ppf((1 + confidence) / 2, freedom) * np.sqrt(total)
    return MeanInterval(float(values.mean()), float(half))


def paired_randomisation_p(a: Floats, b: Floats, resamples: int = 9999, seed: int = 0) -> float:
    """Two-sided p-value of the paired randomisation test that two methods have the same mean.

    Under the null hypothesis a user's two values could be swapped, so signs of the differences are drawn at
    random (Smucker, Allan and Carterette, "A comparison of statistical significance tests for information
    retrieval evaluation", CIKM 2007). If there are no more sign patterns than resamples, all
    patterns are counted and the p-value is exact.

    Args:
        a: float64 [n_users], first method, mean over seeds.
        b: float64 [n_users], second method, the same users in the same order.
        resamples: random sign patterns.
        seed: seed of the draw.
    """
    differences = a - b
    differences = differences[differences != 0]  # a zero has no sign to flip
    if len(differences) < 2:  # both signs of one difference are equally extreme
        return 1.0
    with np.errstate(over="ignore"):  # scipy counts all 2^n sign patterns, of thousands of users
        result = stats.permutation_test(
            (differences,),
            lambda x, axis: x.mean(axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=resamples,
            batch=max(1, 2**23 // len(differences)),
            random_state=np.random.default_rng(seed),
        )
    return float(result.pvalue)


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction of a family of p-values (Scandinavian Journal of Statistics, 1979)."""
    return [float(p) for p in multipletests(p_values, method="holm")[1]] if p_values else []
