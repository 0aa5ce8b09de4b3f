"""Confidence intervals of figures, and tests of which rows of a table differ.

A figure has two sources of chance: the users, and the seeds of training. A table has many users and few seeds, so the
spread between seeds is estimated from all rows of the table together, relative to what each row's own values give.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Error that tests and groups control over a whole table, and 1 - coverage of intervals.
LEVEL = 0.05

#: Random signs in memory at the same time: 32 MB of float32.
_BLOCK_SIGNS = 2**23
#: Contrasts computed at once, so that they stay in the processor's cache: 1 MB of float64.
_BLOCK_CONTRASTS = 2**17


@dataclass(frozen=True)
class MeanInterval:
    """A mean and the half-width of its 95 % confidence interval."""

    mean: float
    half_width: float


@dataclass(frozen=True)
class SeedSpread:
    """How far apart the means of seeds are in a table.

    Attributes:
        ratio: variance between the means of seeds over what the user-by-seed variance gives it; 1 if seeds only
            shuffle which users are served well. At least 1.
        freedom: degrees of freedom of the ratio.
    """

    ratio: float = 1.0
    freedom: float = math.inf


def seed_spread(values: Floats) -> SeedSpread:
    """The spread between seeds, pooled over the rows of a table.

    The ratio of the mean squares "seed" and "user by seed" of a two-way analysis of variance, averaged over the rows
    with a random part. Two things take degrees of freedom from that mean. Methods that share trained components have
    correlated residuals: it counts as many independent rows as have the same sum of squared correlations. And some
    methods depend on their seed more than others: on cdsr/v1 the standard deviation of ratio - 1 between methods is
    about its mean, and is taken to be it.

    Args:
        values: float64 [n_rows, n_seeds, n_users]; one seed has no spread.
    """
    _, n_seeds, n_users = values.shape
    if min(n_seeds, n_users) < 2:
        return SeedSpread()
    residuals = _residuals(values)
    squares = (residuals**2).sum(axis=(1, 2))
    random = squares > 1e-12 * n_users
    if not random.any():
        return SeedSpread()
    between = n_users * values[random].mean(axis=2).var(axis=1, ddof=1)
    ratio = max(1.0, float(np.mean(between * (n_seeds - 1) * (n_users - 1) / squares[random])))
    unit = residuals[random].reshape(random.sum(), -1) / np.sqrt(squares[random])[:, None]
    independent = float(random.sum() ** 2 / ((unit @ unit.T) ** 2).sum())
    differences = (1 - 1 / ratio) ** 2 * (independent - 1) / independent**2
    return SeedSpread(ratio, 1 / (1 / (independent * (n_seeds - 1)) + differences / 2))


def mean_interval(values: Floats, spread: SeedSpread | None = None, confidence: float = 1 - LEVEL) -> MeanInterval:
    """Mean and interval of a per-user metric, or of a difference, over users and seeds, both taken as random.

    The quantile is Student's t with Satterthwaite's degrees of freedom. With one seed the interval is over users only.

    Args:
        values: float64 [n_seeds, n_users]; with one user the interval is infinite.
        spread: between the seeds of the table. None: estimated from these values.
        confidence: coverage of the interval.
    """
    mean = float(values.mean())
    n_seeds, n_users = values.shape
    if n_users < 2:  # the variance over users is unknown
        return MeanInterval(mean, math.inf)
    spread = spread or seed_spread(values[None])
    by_seed = float((_residuals(values[None]) ** 2).sum()) / max(1, n_seeds - 1) / (n_users - 1) / (n_seeds * n_users)
    by_user = max(0.0, float(values.mean(axis=0).var(ddof=1)) / n_users - by_seed)
    total = by_user + spread.ratio * by_seed
    if total == 0:
        return MeanInterval(mean, 0.0)
    freedom = 1 / (1 / (n_users - 1) + (spread.ratio * by_seed / total) ** 2 / spread.freedom)
    return MeanInterval(mean, float(special.stdtrit(freedom, (1 + confidence) / 2) * math.sqrt(total)))


def simultaneous_p_values(
    values: Floats, contrasts: Floats, spread: SeedSpread | None = None, resamples: int = 9999, seed: int = 0
) -> Floats:
    """Two-sided p-values of contrasts between rows, adjusted so that the error over all of them is controlled.

    Randomised Tukey HSD (Carterette, "Multiple testing in statistical analysis of systems-based information retrieval
    experiments", TOIS 2012), studentised, for any family of contrasts. Under the null hypothesis the sign of a user's
    differences is random: signs are drawn, one per user for all rows, which keeps the correlation of rows. The spread
    between seeds enters as normal noise with the covariance of the residuals. Its estimate is drawn anew each time;
    so is the variance of each independent part of the noise, from an exponential distribution, whose standard deviation
    is its mean; rows that are equal get equal noise. A p-value is the share of draws in which the largest studentised
    contrast of the family reaches the observed one. If there are no more than `resamples` sign patterns, each is used
    once.

    Args:
        values: float64 [n_rows, n_seeds, n_users].
        contrasts: float64 [n_contrasts, n_rows], each with sum 0.
        spread: between the seeds of the table. None: estimated from these values.
        resamples: random sign patterns.
        seed: seed of the draw.

    Returns:
        float64 [n_contrasts].
    """
    if not len(contrasts):
        return np.empty(0)
    _, n_seeds, n_users = values.shape
    spread = spread or seed_spread(values)
    means = values.mean(axis=1)
    means = means - means.mean(axis=0)
    residuals = _residuals(values).reshape(len(values), -1)
    covariance = residuals @ residuals.T / max(1, n_seeds - 1) / max(1, n_users - 1) / (n_seeds * n_users)
    by_seed = _quadratic(contrasts, covariance)
    # Second moments about 0, which no sign changes.
    by_user = np.maximum(_quadratic(contrasts, means @ means.T) / n_users**2 - by_seed, 0)
    noise = _root(covariance * (spread.ratio - 1))
    means = means[:, np.abs(means).max(axis=0) > 1e-12].T  # equal values have no sign to flip

    contrast = _contrast(contrasts)

    def studentised(sums: Floats, ratio: Floats | float) -> Floats:
        """Squares of the studentised contrasts; 0 for rows that are equal."""
        squares = contrast(sums)
        squares *= squares
        squares /= by_user + ratio * by_seed + 1e-18
        return squares

    observed = studentised(means.sum(axis=0)[None] / n_users, spread.ratio)[0]
    rng = np.random.default_rng(seed)
    maxima = []
    for signs in _sign_blocks(len(means), resamples, rng):
        sums = (signs @ means.astype(np.float32)).astype(np.float64) / n_users
        sums += (rng.standard_normal(sums.shape) * np.sqrt(rng.exponential(size=sums.shape))) @ noise
        ratio = spread.ratio * np.ones((len(sums), 1))
        if math.isfinite(spread.freedom):
            ratio *= rng.chisquare(spread.freedom, ratio.shape) / spread.freedom
        size = max(1, _BLOCK_CONTRASTS // len(contrasts))
        maxima += [
            studentised(sums[start : start + size], ratio[start : start + size]).max(axis=1)
            for start in range(0, len(sums), size)
        ]
    largest = np.sort(np.concatenate(maxima))
    reached = len(largest) - np.searchsorted(largest, observed * (1 - 1e-4) - 1e-9)  # sums are in float32
    own = int(len(largest) < 2 ** len(means))  # random patterns lack the one that was observed
    return np.asarray((reached + own) / (len(largest) + own))


def all_pairs(values: Floats, spread: SeedSpread | None = None, resamples: int = 9999) -> Floats:
    """p-value of the difference of every two rows, adjusted for all pairs: float64 [n_rows, n_rows]; 1 on the diagonal.

    Args:
        values: float64 [n_rows, n_seeds, n_users].
        spread: between the seeds of the table. None: estimated from these values.
        resamples: random sign patterns.
    """
    n_rows = len(values)
    left, right = np.triu_indices(n_rows, 1)
    p_values = np.ones((n_rows, n_rows))
    contrasts = np.eye(n_rows)[left] - np.eye(n_rows)[right]
    p_values[left, right] = p_values[right, left] = simultaneous_p_values(values, contrasts, spread, resamples)
    return p_values


def mean_over_tables(tables: Sequence[Floats], users: Sequence[NDArray[np.int64]]) -> Floats:
    """One value per person, whose mean over persons is the mean of several tables' means over their users.

    Users of several tables who are the same person have one value, so that they count as one in every test. A value is
    taken around its table's mean, so that it does not depend on the number of tables that a person is in.

    Args:
        tables: float64 [n_rows, n_seeds, n_users of the table] each.
        users: the person of each user of a table, int64 [n_users of the table] each, from 0 on; each at most once.

    Returns:
        float64 [n_rows, n_seeds, n_persons].
    """
    n_persons = int(max(own.max() for own in users)) + 1
    total = np.zeros((*tables[0].shape[:2], n_persons))
    for values, own in zip(tables, users, strict=True):
        means = values.mean(axis=2, keepdims=True)
        total += means
        total[:, :, own] += (values - means) * (n_persons / len(own))
    return total / len(tables)


def rank_intervals(means: Floats, differ: Bools) -> list[tuple[int, int]]:
    """Ranks that each row can have: below the rows that are better beyond doubt, above those that are worse.

    If no pair differs wrongly, every row's true rank is in its interval, so all intervals hold together with the
    confidence of the pairs (Klein, Wright and Wieczorek, "A joint confidence region for an overall ranking of
    populations", JRSS C 2020).

    Args:
        means: float64 [n_rows].
        differ: whether two rows differ, bool [n_rows, n_rows].
    """
    higher = means[:, None] > means[None]
    return [
        (1 + int((differ[:, row] & higher[:, row]).sum()), len(means) - int((differ[row] & higher[row]).sum()))
        for row in range(len(means))
    ]


def groups(differ: Bools) -> list[list[int]]:
    """The largest sets of rows of which no two differ, for a compact letter display.

    Insert and absorb (Piepho, "An algorithm for a letter-based representation of all-pairwise comparisons", Journal of
    Computational and Graphical Statistics 2004).

    Args:
        differ: whether two rows differ, bool [n_rows, n_rows], symmetric.

    Returns:
        Rows of each group in ascending order; groups by their rows.
    """
    found = {frozenset(range(len(differ)))}
    for pair in combinations(range(len(differ)), 2):
        if differ[pair]:
            split = {group - {row} for group in found if group.issuperset(pair) for row in pair}
            found = {group for group in found if not group.issuperset(pair)} | split
            found = {group for group in found if not any(group < other for other in found)}
    return sorted(sorted(group) for group in found)


def _residuals(values: Floats) -> Floats:
    """What a user's value with one seed has beyond the means of user and seed: float64 [n_rows, n_seeds, n_users]."""
    residuals: Floats = (
        values
        - values.mean(axis=1, keepdims=True)
        - values.mean(axis=2, keepdims=True)
        + values.mean(axis=(1, 2), keepdims=True)
    )
    return residuals


def _contrast(contrasts: Floats) -> Callable[[Floats], Floats]:
    """A function that gives the contrasts of rows: float64 [n, n_rows] -> [n, n_contrasts].

    For differences of two rows, which most contrasts are, it needs no matrix product.
    """
    left, right = contrasts.argmax(axis=1), contrasts.argmin(axis=1)
    unit = np.eye(contrasts.shape[1])
    if np.array_equal(contrasts, unit[left] - unit[right]):
        return lambda rows: rows[:, left] - rows[:, right]
    return lambda rows: np.asarray(rows @ contrasts.T)


def _quadratic(contrasts: Floats, matrix: Floats) -> Floats:
    """c M c' of each contrast c: float64 [n_contrasts]."""
    return np.asarray(((contrasts @ matrix) * contrasts).sum(axis=1))


def _root(covariance: Floats) -> Floats:
    """The symmetric matrix R with R R = covariance, which may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T)


def _sign_blocks(n_users: int, resamples: int, rng: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    """Sign patterns, float32 [n_patterns, n_users]: all if they are no more than `resamples`, else random ones."""
    if 2**n_users <= resamples:
        yield np.array(list(product([1, -1], repeat=n_users)), dtype=np.float32).reshape(2**n_users, n_users)
        return
    block = max(1, _BLOCK_SIGNS // n_users)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        bits = np.unpackbits(np.frombuffer(rng.bytes(size * n_users // 8 + 1), dtype=np.uint8), count=size * n_users)
        yield bits.reshape(size, n_users).astype(np.float32) * 2 - 1
