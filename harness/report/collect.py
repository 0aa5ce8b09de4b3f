"""Result files of one suite, side by side."""

from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from harness.errors import HarnessError
from harness.protocol.metrics import Floats, per_user
from harness.results.failure import FailureRecord, is_failure, read_failure
from harness.results.record import RankTable, RunResult, TestUsers, difference, read_result


@dataclass(frozen=True)
class Entry:
    """All seeds of one method on one scenario; the rows of its tables are of the same users in the same order."""

    method: str
    results: tuple[RunResult, ...]
    tables: tuple[RankTable, ...]

    def values(self, candidates: str, metric: str, members: str = "all") -> Floats | None:
        """Per-user values over the users of a slice: float64 [n_seeds, n_users]; None if not measured or empty."""
        if any(candidates not in table.ranks for table in self.tables):
            return None
        rows = [per_user(table.ranks[candidates])[metric][table.slices[members]] for table in self.tables]
        return np.stack(rows) if len(rows[0]) else None


@dataclass(frozen=True)
class Board:
    """All results of a suite.

    Attributes:
        suite: its name.
        version: its version.
        scenarios: entries by scenario name, both sorted by name.
        failures: runs that failed when they were last tried.
    """

    suite: str
    version: int
    scenarios: dict[str, tuple[Entry, ...]]
    failures: tuple[FailureRecord, ...] = ()

    @property
    def results(self) -> list[RunResult]:
        """Every result, in order."""
        return [r for entries in self.scenarios.values() for entry in entries for r in entry.results]


class NoResultsError(HarnessError):
    """There is nothing to make a board of."""


def boards_in(folder: Path, suite: str | None = None) -> list[tuple[str, int]]:
    """Names and versions of the suites with results in a folder, or of one of them."""
    return sorted(
        (path.parent.name, int(path.name[1:]))
        for path in folder.glob(f"{suite or '*'}/v*")
        if path.is_dir() and path.name[1:].isdecimal()
    )


def results_in(folder: Path) -> frozenset[Path]:
    """Paths of all results in a folder, from there on."""
    return frozenset(path.relative_to(folder) for path in folder.glob("*/v*/*/*.json") if not is_failure(path))


def collect(folder: Path, suite: str, version: int) -> Board:
    """Reads the results of one version of a suite, from `folder/suite/v<version>`.

    Raises:
        NoResultsError: there are none.
        HarnessError: one cannot be read, or results that should match do not.
    """
    home = folder / suite / f"v{version}"
    written = sorted(home.rglob("*.json"))
    paths = [path for path in written if not is_failure(path)]
    if not paths:
        raise NoResultsError(f"No results of {suite}/v{version} in {folder}.", f"Run: harness run --suite {suite}.")
    for ranks in sorted(home.rglob("*.parquet")):
        if ranks.name != "users.parquet" and not ranks.with_suffix(".json").is_file():
            raise HarnessError(
                f"No result file {ranks.with_suffix('.json')}, though its ranks are there.",
                "Restore the file, or run the suite again.",
            )
    read_users = cache(TestUsers.from_parquet)
    found: dict[str, dict[str, list[tuple[RunResult, RankTable]]]] = defaultdict(lambda: defaultdict(list))
    first: dict[str, tuple[Path, RunResult, RankTable]] = {}
    first_seed: dict[tuple[str, str], tuple[Path, RunResult]] = {}
    for path in paths:
        result, table = read_result(path, read_users)
        if result.suite != suite or path.relative_to(folder) != result.path:
            raise HarnessError(
                f"{path} holds the result of {result.path}.",
                "Move it there, or delete it and run the suite again.",
            )
        scenario = result.scenario.name
        other_path, other, other_table = first.setdefault(scenario, (path, result, table))
        _check_same(path, _shared(result), other_path, _shared(other))
        seed_path, seed = first_seed.setdefault((scenario, result.method), (path, result))
        _check_same(path, _of_method(result), seed_path, _of_method(seed))
        _check_slices(path, table, other_path, other_table)
        found[scenario][result.method].append((result, table))
    return Board(
        suite,
        version,
        {
            scenario: tuple(
                Entry(method, tuple(r for r, _ in pairs), tuple(t for _, t in pairs))
                for method, pairs in sorted(methods.items())
            )
            for scenario, methods in sorted(found.items())
        },
        tuple(read_failure(path) for path in written if is_failure(path)),
    )


def _shared(result: RunResult) -> dict[str, object]:
    """What all results of a scenario must have in common."""
    drawn = {name: record.digest for name, record in result.candidates.items()}
    return {
        **result.conditions,
        "instants of the split": result.scenario.split,
        "drawn candidates": drawn,
        "k-core": result.scenario.k_core,
    }


def _of_method(result: RunResult) -> dict[str, object]:
    """What all seeds of a method must have in common."""
    return {
        "settings": result.settings,
        "content": result.content,
        "reference": result.reference,
        "domains learnt from": list(result.learns_from),
    }


def _check_same(path: Path, own: dict[str, object], other_path: Path, others: dict[str, object]) -> None:
    for aspect, value in own.items():
        if value != others[aspect]:
            raise HarnessError(
                f"{path} and {other_path} were made with different {aspect} ({difference(value, others[aspect])}): "
                "they cannot stand in one table.",
                "Run the suite again, or delete the one that does not belong.",
            )


def _check_slices(path: Path, table: RankTable, other_path: Path, other: RankTable) -> None:
    """The rows are of the same users already: all results of a scenario share one file of them."""
    if any((members != other.slices[name]).any() for name, members in table.slices.items()):
        raise HarnessError(
            f"{path} and {other_path} put the same users into different slices: they cannot stand in one table.",
            "Run the suite again, or delete the one that does not belong.",
        )
