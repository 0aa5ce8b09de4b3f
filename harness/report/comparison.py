"""Which rows of a table differ, and which gains differ from zero, with the error controlled over the table."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from harness.protocol.metrics import Floats
from harness.protocol.significance import (
    LEVEL,
    MeanInterval,
    SeedSpread,
    all_pairs,
    mean_interval,
    mean_over_tables,
    seed_spread,
    simultaneous_p_values,
)
from harness.report.collect import Board, Entry

#: Candidates and metric that methods are ordered and tested by.
MAIN = ("full", "ndcg@10")

#: Differences up to this are the rounding of floats.
_ROUNDING = 1e-12

#: A method and its reference.
Pair = tuple[str, str]


@dataclass(frozen=True)
class Gain:
    """What a method gains over its reference.

    Attributes:
        figure: mean and interval.
        users: gain of each user, mean over seeds, float64 [n_users].
        is_found: whether it differs from 0, with the error controlled over the gains of its table.
    """

    figure: MeanInterval
    users: Floats
    is_found: bool


@dataclass(frozen=True)
class Comparison:
    """Methods of a table on the seeds that they share.

    Attributes:
        methods: one per row of `values`.
        values: a metric, float64 [n_methods, n_seeds, n_users].
    """

    methods: tuple[str, ...]
    values: Floats

    @property
    def is_tested(self) -> bool:
        """Whether there are two rows to test, and the two seeds that a test needs."""
        return len(self.methods) > 1 and self.values.shape[1] > 1

    @cached_property
    def spread(self) -> SeedSpread | None:
        """The spread between seeds; None with one seed."""
        return seed_spread(self.values) if self.values.shape[1] > 1 else None

    @cached_property
    def differ(self) -> NDArray[np.bool_]:
        """Whether two methods differ, with the error controlled over all pairs: bool [n_methods, n_methods]."""
        return np.asarray(all_pairs(self.values, self.spread) < LEVEL)

    def same_as(self, method: str) -> set[str]:
        """The methods that cannot be told from one of them, itself included; empty if it was not tested."""
        if not self.is_tested or method not in self.methods:
            return set()
        row = self.differ[self.methods.index(method)]
        return {other for other, differs in zip(self.methods, row, strict=True) if not differs}

    def gains(self, pairs: Iterable[Pair]) -> dict[Pair, Gain]:
        """The gains of those pairs of which both methods are in the table."""
        known = [pair for pair in pairs if set(pair) <= set(self.methods)]
        unit = np.eye(len(self.methods))
        contrasts = np.array([unit[self.methods.index(a)] - unit[self.methods.index(b)] for a, b in known])
        p_values = simultaneous_p_values(self.values, contrasts, self.spread) if self.is_tested else np.ones(len(known))
        gains = {}
        for (a, b), p_value in zip(known, p_values, strict=True):
            difference = self.values[self.methods.index(a)] - self.values[self.methods.index(b)]
            gains[a, b] = Gain(mean_interval(difference, self.spread), difference.mean(axis=0), bool(p_value < LEVEL))
        return gains


def is_higher(gains: Floats) -> tuple[float, float]:
    """Shares of users (float64 [n_users], their gains) with a gain, and with a loss."""
    return float((gains > _ROUNDING).mean()), float((gains < -_ROUNDING).mean())


_NOTHING = Comparison((), np.empty((0, 0, 0)))


def compare(entries: Iterable[Entry], candidates: str = MAIN[0], metric: str = MAIN[1]) -> Comparison:
    """The methods of one scenario; those with one seed are left out if others have more."""
    by_seed = {}
    for entry in entries:
        values = entry.values(candidates, metric)
        if values is not None:
            by_seed[entry.method] = _by_seed(entry, values)
    methods, seeds = _shared_seeds({method: set(rows) for method, rows in by_seed.items()})
    if not methods:
        return _NOTHING
    return Comparison(methods, np.array([[by_seed[method][seed] for seed in seeds] for method in methods]))


def compare_over_scenarios(
    board: Board, candidates: str = MAIN[0], metric: str = MAIN[1], slice_name: str = "all"
) -> Comparison:
    """The methods with results on all scenarios, by their mean over scenarios.

    See `mean_over_tables`: a person who takes part in several scenarios, by the same id, counts as one. Empty if a
    scenario has no users in the slice.
    """
    return _over_scenarios(tuple(board.scenarios.values()), candidates, metric, slice_name)


@lru_cache(maxsize=4)  # the overview, the gains and the claims of a board share them
def _over_scenarios(
    scenarios: tuple[tuple[Entry, ...], ...], candidates: str, metric: str, slice_name: str
) -> Comparison:
    columns: dict[str, int] = {}
    users = []
    by_method: dict[str, list[dict[int, Floats]]] = {}
    for entries in scenarios:
        first = entries[0].tables[0]
        if slice_name not in first.slices:
            return _NOTHING
        ids = compress(first.users.user_ids, first.slices[slice_name])
        users.append(np.array([columns.setdefault(user, len(columns)) for user in ids]))
        for entry in entries:
            values = entry.values(candidates, metric, slice_name)
            if values is not None:
                by_method.setdefault(entry.method, []).append(_by_seed(entry, values))
    complete = {method: rows for method, rows in by_method.items() if len(rows) == len(scenarios)}
    methods, seeds = _shared_seeds({m: set.intersection(*map(set, rows)) for m, rows in complete.items()})
    if not methods:
        return _NOTHING
    tables = [np.array([[complete[m][k][seed] for seed in seeds] for m in methods]) for k in range(len(users))]
    return Comparison(methods, mean_over_tables(tables, users))


def _by_seed(entry: Entry, values: Floats) -> dict[int, Floats]:
    return dict(zip((result.seed for result in entry.results), values, strict=True))


def _shared_seeds(seeds: Mapping[str, set[int]]) -> tuple[tuple[str, ...], list[int]]:
    """The methods with several seeds, or all if none has, and the seeds that they share; no method if there is none."""
    several = {method: own for method, own in seeds.items() if len(own) > 1} or seeds
    shared = sorted(set.intersection(*several.values())) if several else []
    return (tuple(several) if shared else ()), shared
