"""How far two sides differ: by scenario, by slice and by candidate set, with intervals and tests over users and seeds.

Intervals and tests are those of boards. The spread between seeds is estimated from all rows of the board, so that the
figures are those of its tables of gains.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.errors import HarnessError
from harness.protocol.metrics import Floats, find_metric, is_list_metric
from harness.protocol.significance import MeanInterval, SeedSpread, mean_interval, seed_spread, simultaneous_p_values
from harness.report.collect import Board
from harness.report.comparison import MAIN, compare_over_scenarios, is_higher
from harness.report.sides import Sides
from harness.results.record import RunResult


@dataclass(frozen=True)
class Difference:
    """What the first side has more than the second, in the mean over seeds and users.

    Attributes:
        scenario: its name; None for the mean over scenarios.
        candidates: name of the candidate set.
        slice: name of the slice.
        users: number of users; over several scenarios, of different ids.
        seeds: number of seeds that both sides have.
        a: mean of the first side.
        b: mean of the second.
        figure: the difference and its 95 % interval; over users only with one seed.
        p_value: of a two-sided randomisation test; None with one seed.
        corrected: the p-value corrected over the rows of its table; None with one seed.
        won: share of users with a higher value on the first side; over scenarios, the mean of their shares.
        lost: share of users with a lower one.
    """

    scenario: str | None
    candidates: str
    slice: str
    users: int
    seeds: int
    a: float
    b: float
    figure: MeanInterval
    p_value: float | None
    corrected: float | None
    won: float
    lost: float

    @property
    def level(self) -> float:
        """Share of users with the same value on both sides."""
        return 1 - self.won - self.lost


@dataclass(frozen=True)
class PairComparison:
    """Two sides, compared.

    Attributes:
        sides: what was compared.
        metric: its name and cutoff.
        candidates: of the main table.
        by_scenario: a difference for each scenario; p-values are corrected over them.
        mean: the mean over scenarios; None of one scenario.
        by_slice: for each candidate set and slice, over all scenarios; p-values are corrected over these rows.
        notes: what a reader should know, in sentences.
    """

    sides: Sides
    metric: str
    candidates: str
    by_scenario: tuple[Difference, ...]
    mean: Difference | None
    by_slice: tuple[Difference, ...]
    notes: tuple[str, ...]

    @property
    def main(self) -> Difference:
        """The difference that a reader looks for first."""
        return self.mean or self.by_scenario[0]


def compare_pair(sides: Sides, candidates: str = MAIN[0], metric: str = MAIN[1]) -> PairComparison:
    """Compare two sides.

    Args:
        sides: see `find_sides`.
        candidates: of the main table.
        metric: of ranks, such as `ndcg@10`.

    Raises:
        HarnessError: an unknown metric or candidate set, or one that a side lacks.
    """
    if is_list_metric(metric):
        raise HarnessError(f"{metric} has no value for each held-out item.", "Take one of hr, ndcg or mrr: ndcg@10.")
    find_metric(metric)
    entries = [entry for side in (sides.a, sides.b) for entry in side.entries.values()]
    recorded = list(dict.fromkeys(name for entry in entries for name in entry.results[0].candidates))
    measured = [name for name in recorded if all(name in table.ranks for entry in entries for table in entry.tables)]
    if candidates not in recorded:
        raise HarnessError.unknown("candidates", candidates, recorded)
    if candidates not in measured:
        raise HarnessError(f"Not both sides are ranked among {candidates}.", f"Take one of {', '.join(measured)}.")
    scenarios = [_difference(sides, [name], candidates, metric, "all") for name in sides.scenarios]
    by_scenario = _corrected([each for each in scenarios if each is not None])
    mean = _difference(sides, sides.scenarios, candidates, metric, "all") if len(sides.scenarios) > 1 else None
    slices = [name for name in entries[0].tables[0].slices if all(name in e.tables[0].slices for e in entries)]
    rows = {(c, s): _difference(sides, sides.scenarios, c, metric, s) for c in measured for s in slices}
    notes = list(sides.notes)
    if len(sides.scenarios) > 1 and mean is None:
        notes.append("There is no mean: no seed is common to all scenarios.")
    empty = [name for name in slices if rows[candidates, name] is None]
    if empty and (mean or len(sides.scenarios) == 1):
        notes.append(f"Slices without users on some scenario: {', '.join(empty)}.")
    unmeasured = [name for name in recorded if name not in measured]
    if unmeasured:
        notes.append(f"Left out, as not both sides are ranked among them everywhere: {', '.join(unmeasured)}.")
    by_slice = _corrected([row for row in rows.values() if row is not None])
    return PairComparison(sides, metric, candidates, by_scenario, mean, by_slice, tuple(notes))


def user_values(sides: Sides, scenario: str, candidates: str, metric: str, slice_name: str = "all") -> Floats | None:
    """The metric of each user, mean over seeds: float64 [2, n_users]; None without users in the slice."""
    values = [side.entries[scenario].values(candidates, metric, slice_name) for side in (sides.a, sides.b)]
    return (
        None if values[0] is None or values[1] is None else np.array([v.mean(axis=0) for v in values if v is not None])
    )


def _difference(
    sides: Sides, scenarios: Sequence[str], candidates: str, metric: str, slice_name: str
) -> Difference | None:
    """None if a slice is empty in one of the scenarios, or these have no seed in common."""
    pair = compare_over_scenarios(_pair_board(sides, scenarios), candidates, metric, slice_name)
    by_user = [user_values(sides, name, candidates, metric, slice_name) for name in scenarios]
    if len(pair.methods) < 2 or any(values is None for values in by_user):
        return None
    n_seeds, n_users = pair.values.shape[1:]
    shares = [is_higher(values[0] - values[1]) for values in by_user if values is not None]
    spread = _spread(sides.board, scenarios, candidates, metric, slice_name) or seed_spread(pair.values)
    p_value = None
    if n_seeds > 1:
        p_value = float(simultaneous_p_values(pair.values, np.array([[1.0, -1.0]]), spread)[0])
    a, b = pair.values.mean(axis=(1, 2))
    return Difference(
        scenario=scenarios[0] if len(scenarios) == 1 else None,
        candidates=candidates,
        slice=slice_name,
        users=n_users,
        seeds=n_seeds,
        a=float(a),
        b=float(b),
        figure=mean_interval(pair.values[0] - pair.values[1], spread),
        p_value=p_value,
        corrected=p_value,
        won=float(np.mean([won for won, _ in shares])),
        lost=float(np.mean([lost for _, lost in shares])),
    )


def _pair_board(sides: Sides, scenarios: Sequence[str]) -> Board:
    """A board of the two sides alone. Two single trainings are paired, whatever their seeds."""
    return Board(
        sides.of,
        0,
        {
            name: tuple(
                replace(
                    side.entries[name],
                    method=method,
                    results=_paired(side.entries[name].results) if sides.single else side.entries[name].results,
                )
                for method, side in (("a", sides.a), ("b", sides.b))
            )
            for name in scenarios
        },
    )


def _paired(results: Sequence[RunResult]) -> tuple[RunResult, ...]:
    """One result with the seed 0, which pairs it with another one."""
    return tuple(result.model_copy(update={"seed": 0}) for result in results)


def _spread(
    board: Board | None, scenarios: Sequence[str], candidates: str, metric: str, slice_name: str
) -> SeedSpread | None:
    """The spread between seeds of all rows of the board; None if it cannot be told."""
    if board is None:
        return None
    part = replace(board, scenarios={name: board.scenarios[name] for name in scenarios})
    return compare_over_scenarios(part, candidates, metric, slice_name).spread


def _corrected(rows: Sequence[Difference]) -> tuple[Difference, ...]:
    """The rows with p-values corrected over them by Holm's method, which allows for any dependence between rows."""
    from statsmodels.stats.multitest import multipletests

    p_values = [row.p_value for row in rows if row.p_value is not None]
    corrected = iter(multipletests(p_values, method="holm")[1] if p_values else [])
    return tuple(row if row.p_value is None else replace(row, corrected=float(next(corrected))) for row in rows)
