"""Writes docs/statistics.md: how often the statistics of boards err on generated tables.

    python -m scripts.null_calibration

Takes about six minutes on one core. A test compares the page with what the script gives.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import optimize, stats

from harness.protocol.significance import (
    LEVEL,
    Floats,
    MeanInterval,
    all_pairs,
    mean_interval,
    mean_over_tables,
    rank_intervals,
    seed_spread,
    simultaneous_p_values,
)
from harness.report.markdown import table

PAGE = Path(__file__).parents[1] / "docs" / "statistics.md"
TABLES = 5000
USERS = 1000
RESAMPLES = 499
SEED = 0

#: Share of users with the held-out item at ranks 1 to 10, over the trained rows of the board cdsr/v1.
RANK_SHARES = np.array([0.0636, 0.0472, 0.0404, 0.0336, 0.0296, 0.0273, 0.0246, 0.0225, 0.0206, 0.0195])
_GAINS = np.concatenate([[0], (1 / np.log2(np.arange(2, 12)))[::-1]])
_EDGES = stats.norm.ppf(1 - np.cumsum(RANK_SHARES)[::-1])

#: Variance of a latent score, of 1 in all, that belongs to a method's own tastes, and to its seeds.
_METHOD_PARTS = (0.002, 0.01, 0.03, 0.06)
_SEED_PARTS = (0.02, 0.05, 0.1)
_FAMILY_PART = 0.03
#: Share of rows without a random part, and mean variance between seeds' means over that of a user's scores.
_DETERMINISTIC, _SEED_EFFECT = 0.15, 0.0025

PAGE_TEXT = """# How often the statistics err

Written by `scripts/null_calibration.py`; do not edit. The methods are described in
[the protocol](protocol.md#statistics).

Each line is {tables:,} generated tables of NDCG@10 for {users:,} users, 67 % of them 0. Users, rows and seeds vary as
on the board `cdsr/v1`. Rows share most of what they get right, the more so within a family; a seventh of the rows has
no random part. Seeds differ at random for each user, and in their mean, by an amount that differs from row to row. The
ratio of the mean squares between seeds and of user by seed is 1.5 to 2.1 on `cdsr/v1`, and {ratio:.1f} here.
A share of 5 % has a standard error of 0.3 %.

## When all rows are equal

False marks: tables in which a row loses its †, although all rows are equal in truth. Before: the same by paired tests
against the best over users only, with Holm's correction, which boards once had. Any pair, any gain: tables in which
some two rows, or a row and the reference, are told apart. Coverage: 95 % intervals that hold the true figure, of rows
and of their gains over one row.

{null}

With one seed nothing is marked. Intervals are then over users only: they are for that one training. In brackets: how
often they hold the method's figure over all seeds.

## One method against itself

Two rows that are one method with other seeds are told apart in {same_3:.1%} of {tables:,} tables with three seeds
each, and in {same_5:.1%} with five. With one seed each nothing is tested; before, {same_1:.1%} were told apart.

## Over scenarios

Three scenarios of 600 out of {users:,} persons each, 6 rows, 3 seeds. {gain_coverage:.1%} of the intervals of mean
gains over scenarios hold the true gain. All rank intervals of a table hold the true ranks in {ranks_apart:.1%} of the
tables where means are .01 apart, and no pair is ordered wrongly in {ranks_equal:.1%} where all are equal.

## What is found

Tables of 12 rows, one of them better than the rest by a true difference: share of the other rows that lose their †, now
and before, and share of its 11 gains over them that are found where only these are tested.

{power}
"""


def metric(latent: Floats) -> Floats:
    """NDCG@10 of latent scores: the higher the score, the better the rank."""
    return np.asarray(_GAINS[np.searchsorted(_EDGES, latent)])


def expected_metric(mean: Floats, variance: Floats) -> Floats:
    """Mean NDCG@10 of normal latent scores."""
    above = stats.norm.sf((_EDGES[:, None] - mean) / np.sqrt(variance))
    return np.asarray(np.diff(_GAINS) @ above)


TRUE_MEAN = float(expected_metric(np.zeros(1), np.ones(1))[0])


def shift_for(difference: float) -> float:
    """The shift of latent scores that raises mean NDCG@10 by a difference."""
    return float(
        optimize.brentq(lambda h: expected_metric(np.array([h]), np.ones(1))[0] - TRUE_MEAN - difference, -2, 2)
    )


@dataclass(frozen=True)
class Rows:
    """Parts of the variance of latent scores, float64 [n_rows] each."""

    common: Floats
    method: Floats
    seed: Floats
    seed_effect: Floats
    family: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, n_rows: int) -> "Rows":
        """Rows of two families."""
        method = rng.choice(_METHOD_PARTS, n_rows)
        seed = rng.choice(_SEED_PARTS, n_rows) * (rng.random(n_rows) >= _DETERMINISTIC)
        effect = seed * _SEED_EFFECT * rng.exponential(size=n_rows)
        return cls(1 - method - seed - effect - _FAMILY_PART, method, seed, effect, np.arange(n_rows) % 2)

    def twice(self) -> "Rows":
        """The first row two times, as one method with other seeds."""
        first = np.zeros(2, dtype=np.int64)
        parts = (self.common + self.method, 0 * self.method, self.seed, self.seed_effect)
        return Rows(*(part[first] for part in parts), first)

    def values(
        self, rng: np.random.Generator, n_seeds: int, n_users: int = USERS, shift: Floats | float = 0.0
    ) -> tuple[Floats, Floats]:
        """NDCG@10, float64 [n_rows, n_seeds, n_users], and its true mean for each training, [n_rows, n_seeds]."""
        n_rows = len(self.common)

        def normal(*shape: int) -> Floats:
            return rng.standard_normal(shape, dtype=np.float32)

        def scaled(part: Floats, noise: Floats) -> Floats:
            return np.sqrt(part, dtype=np.float32)[:, None] * noise

        family = np.sqrt(np.float32(_FAMILY_PART)) * normal(2, n_users)[self.family]
        fixed = scaled(self.common, normal(1, n_users)) + scaled(self.method, normal(n_rows, n_users)) + family
        effects = scaled(self.seed_effect, normal(n_rows, n_seeds)) + np.reshape(shift, (-1, 1))
        latent = np.sqrt(self.seed, dtype=np.float32)[:, None, None] * normal(n_rows, n_seeds, n_users)
        latent += fixed[:, None] + effects[:, :, None].astype(np.float32)
        variance = np.broadcast_to(1 - self.seed_effect[:, None], effects.shape).ravel()
        return metric(latent), expected_metric(effects.ravel(), variance).reshape(effects.shape)


def told_apart_before(values: Floats) -> np.ndarray:
    """Rows that differ from the best by Holm's correction of paired tests over users, bool [n_rows]."""
    means = values.mean(axis=1)
    best = means.mean(axis=1).argmax()
    others = np.delete(np.arange(len(means)), best)
    p_values = stats.ttest_rel(means[others], means[best], axis=1).pvalue
    told = np.zeros(len(means), dtype=bool)
    order = p_values.argsort()
    told[others[order]] = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)) < LEVEL
    return told


def covers(interval: MeanInterval, truth: float) -> bool:
    """Whether an interval holds the truth."""
    return abs(interval.mean - truth) <= interval.half_width


@dataclass
class Errors:
    """What happened in tables of equal rows, one item a table or an interval."""

    false_marks: list[bool] = field(default_factory=list)
    before: list[bool] = field(default_factory=list)
    any_pair: list[bool] = field(default_factory=list)
    any_gain: list[bool] = field(default_factory=list)
    rows: list[bool] = field(default_factory=list)
    gains: list[bool] = field(default_factory=list)
    rows_of_training: list[bool] = field(default_factory=list)
    gains_of_training: list[bool] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)


def null_errors(n_rows: int, n_seeds: int, tables: int = TABLES, twice: bool = False) -> Errors:
    """What the statistics say of generated tables whose rows are equal in truth."""
    rng = np.random.default_rng([SEED, n_rows, n_seeds, twice])
    errors = Errors()
    for _ in range(tables):
        rows = Rows.draw(rng, n_rows)
        values, trained = (rows.twice() if twice else rows).values(rng, n_seeds)
        spread = seed_spread(values)
        errors.ratios.append(spread.ratio)
        errors.before.append(bool(told_apart_before(values).any()))
        if n_seeds > 1:
            differ = all_pairs(values, spread, RESAMPLES) < LEVEL
            errors.any_pair.append(bool(differ.any()))
            errors.false_marks.append(bool(differ[values.mean(axis=(1, 2)).argmax()].any()))
            errors.any_gain.append(
                bool((simultaneous_p_values(values, _gains(n_rows), spread, RESAMPLES) < LEVEL).any())
            )
        for row in range(1, min(n_rows, 6)):  # some rows are enough
            figure, gain = mean_interval(values[row], spread), mean_interval(values[row] - values[0], spread)
            errors.rows.append(covers(figure, TRUE_MEAN))
            errors.gains.append(covers(gain, 0.0))
            errors.rows_of_training.append(covers(figure, float(trained[row].mean())))
            errors.gains_of_training.append(covers(gain, float((trained[row] - trained[0]).mean())))
    return errors


def _gains(n_rows: int) -> Floats:
    """Contrasts of each row but the first with the first."""
    return np.eye(n_rows)[1:] - np.eye(n_rows)[0]


def null_table(errors: dict[tuple[int, int], Errors]) -> str:
    """The errors by numbers of rows and seeds, as markdown."""
    headings = ["rows", "seeds", "false marks", "before", "any pair", "any gain", "coverage, rows", "coverage, gains"]
    body = []
    for (n_rows, n_seeds), e in errors.items():
        if n_seeds > 1:
            tested, covered = (e.false_marks, e.before, e.any_pair, e.any_gain), (e.rows, e.gains)
            cells = [f"{np.mean(part):.1%}" for part in (*tested, *covered)]
        else:
            cells = ["none", f"{np.mean(e.before):.1%}", "none", "none"] + [
                f"{np.mean(of_training):.1%} ({np.mean(of_method):.1%})"
                for of_training, of_method in ((e.rows_of_training, e.rows), (e.gains_of_training, e.gains))
            ]
        body.append([str(n_rows), str(n_seeds), *cells])
    return table(headings, body, ["right"] * len(headings))


def over_scenarios(step: float, tables: int = TABLES) -> tuple[float, float]:
    """Coverage of mean gains over scenarios, and share of tables whose rank intervals all hold the true ranks.

    Args:
        step: true difference of one row and the next.
        tables: to generate.
    """
    rng = np.random.default_rng([SEED, int(1000 * step)])
    n_rows, n_seeds = 6, 3
    shifts = np.array([shift_for(-step * row) for row in range(n_rows)])
    covered, ranks_hold = [], []
    for _ in range(tables):
        rows = Rows.draw(rng, n_rows)
        users = [rng.permutation(USERS)[:600] for _ in range(3)]
        persons = [rows.values(rng, n_seeds, USERS, shifts)[0] for _ in users]
        values = mean_over_tables([of[:, :, own] for of, own in zip(persons, users, strict=True)], users)
        spread = seed_spread(values)
        differ = all_pairs(values, spread, RESAMPLES) < LEVEL
        means = values.mean(axis=(1, 2))
        for row in range(1, n_rows):
            covered.append(covers(mean_interval(values[row] - values[0], spread), -step * row))
        intervals = rank_intervals(means, differ)
        ranks_hold.append(
            all(first <= 1 + row <= last for row, (first, last) in enumerate(intervals)) if step else not differ.any()
        )
    return float(np.mean(covered)), float(np.mean(ranks_hold))


def power_table(tables: int = 200) -> str:
    """How often a true difference is found, as markdown."""
    return table(
        ["true difference", "seeds", "lose their †", "before", "gains found"],
        [
            [f"{difference:.2f}"[1:], str(n_seeds), *(f"{share:.0%}" for share in _power(difference, n_seeds, tables))]
            for difference in (0.01, 0.02, 0.03)
            for n_seeds in (3, 5)
        ],
        ["right"] * 5,
    )


def _power(difference: float, n_seeds: int, tables: int) -> Iterator[float]:
    rng = np.random.default_rng([SEED, int(1000 * difference), n_seeds])
    n_rows = 12
    shifts = np.array([shift_for(difference), *[0.0] * (n_rows - 1)])
    found = []
    for _ in range(tables):
        values, _ = Rows.draw(rng, n_rows).values(rng, n_seeds, shift=shifts)
        spread, best = seed_spread(values), values.mean(axis=(1, 2)).argmax()
        gains = simultaneous_p_values(values, -_gains(n_rows), spread, RESAMPLES) < LEVEL
        marks = all_pairs(values, spread, RESAMPLES)[best, 1:] < LEVEL
        found.append((marks.mean(), told_apart_before(values)[1:].mean(), gains.mean()))
    yield from np.mean(found, axis=0)


def page(tables: int = TABLES) -> str:
    """The text of docs/statistics.md."""
    errors = {
        (m, s): null_errors(m, s, tables) for m, s in ((5, 1), (5, 3), (5, 5), (12, 3), (26, 1), (26, 3), (26, 5))
    }
    same = {seeds: null_errors(2, seeds, tables, twice=True) for seeds in (1, 3, 5)}
    _, ranks_equal = over_scenarios(0.0, tables)
    gain_coverage, ranks_apart = over_scenarios(0.01, tables)
    return PAGE_TEXT.format(
        tables=tables,
        users=USERS,
        ratio=np.mean([np.mean(e.ratios) for (_, seeds), e in errors.items() if seeds > 1]),
        null=null_table(errors),
        same_1=np.mean(same[1].before),
        same_3=np.mean(same[3].any_pair),
        same_5=np.mean(same[5].any_pair),
        gain_coverage=gain_coverage,
        ranks_equal=ranks_equal,
        ranks_apart=ranks_apart,
        power=power_table(tables // 10),
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
