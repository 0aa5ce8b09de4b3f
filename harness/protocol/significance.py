"""Confidence intervals of figures, and tests of whether two methods differ."""

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

Floats = NDArray[np.float64]

#: Random signs in memory at the same time: 64 MB of float64.
_BLOCK_SIGNS = 2**23


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

    Args:
        a: float64 [n_users], first method, mean over seeds.
        b: float64 [n_users], second method, the same users in the same order.
        resamples: random sign patterns.
        seed: seed of the draw.
    """
    return float(paired_randomisation_p_values(a, b[None], resamples, seed)[0])


def paired_randomisation_p_values(reference: Floats, others: Floats, resamples: int = 9999, seed: int = 0) -> Floats:
    """Two-sided p-values of the paired randomisation test that methods have the same mean as another.

    Under the null hypothesis a user's two values could be swapped, so signs of the differences are drawn at random
    (Smucker, Allan and Carterette, "A comparison of statistical significance tests for information retrieval
    evaluation", CIKM 2007). All methods share the sign patterns, so that the sums are one matrix product. A method with
    no more sign patterns than resamples gets the exact p-value from all of them.

    Args:
        reference: float64 [n_users], mean over seeds.
        others: float64 [n_methods, n_users], the same users in the same order.
        resamples: random sign patterns.
        seed: seed of the draw.

    Returns:
        float64 [n_methods].
    """
    differences = reference - others
    observed = np.abs(differences.sum(axis=1))
    # Sums that differ in the last bits are equal.
    bounds = observed * (1 - 1e-9) - 1e-12
    extreme, rng = np.zeros(len(others), dtype=np.int64), np.random.default_rng(seed)
    n_users = len(reference)
    block = max(1, _BLOCK_SIGNS // max(1, n_users))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        bits = np.unpackbits(np.frombuffer(rng.bytes(size * n_users // 8 + 1), dtype=np.uint8), count=size * n_users)
        signs = bits.reshape(size, n_users).astype(np.float64) * 2 - 1
        extreme += (np.abs(signs @ differences.T) >= bounds).sum(axis=0)
    p_values: Floats = (extreme + 1) / (resamples + 1)
    for method, row in enumerate(differences):
        nonzero = row[row != 0]  # a zero has no sign to flip
        if 2 ** len(nonzero) <= resamples:
            patterns = np.array(list(product([1.0, -1.0], repeat=len(nonzero)))).reshape(
                2 ** len(nonzero), len(nonzero)
            )
            p_values[method] = np.mean(np.abs(patterns @ nonzero) >= bounds[method])
    return p_values


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction of a family of p-values (Scandinavian Journal of Statistics, 1979)."""
    return [float(p) for p in multipletests(p_values, method="holm")[1]] if p_values else []
