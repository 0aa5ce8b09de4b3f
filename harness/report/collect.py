"""The results of one suite, grouped by scenario and method."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from pathlib import Path

import numpy as np

from harness.errors import HarnessError
from harness.protocol.metrics import Floats, find_list_metric, find_metric, is_list_metric
from harness.protocol.recommendations import Recommendations
from harness.report.folders import NoResultsError
from harness.results.check import difference
from harness.results.failure import FailureRecord, is_failure, read_failure
from harness.results.files import read_recommendations, read_result, result_path_of
from harness.results.ranks_table import RankTable
from harness.results.record import RunResult
from harness.results.submission import submitted_path, submitted_results
from harness.results.users import CatalogueItems, TestUsers
from harness.storage.files import file_digest


@dataclass(frozen=True, eq=False)
class Entry:
    """All seeds of one method on one scenario; the rows of its tables are of the same users in the same order.

    Attributes:
        method: its name.
        results: one per seed.
        tables: ranks of each result.
        paths: of each result file.
        read_items: reads the file of a catalogue.
    """

    method: str
    results: tuple[RunResult, ...]
    tables: tuple[RankTable, ...]
    paths: tuple[Path, ...] = ()
    read_items: Callable[[Path], CatalogueItems] = field(default=CatalogueItems.from_parquet, repr=False)

    def values(self, candidates: str, metric: str, slice_name: str = "all") -> Floats | None:
        """Per-user values of a metric of ranks, such as `ndcg@10`, over the users of a slice.

        Returns:
            float64 [n_seeds, n_users]; None if the results lack these candidates or this slice, or it is empty.
        """
        if any(candidates not in table.ranks or slice_name not in table.slices for table in self.tables):
            find_metric(metric)
            return None
        values = _per_user(self, candidates, metric)
        if slice_name != "all":
            values = np.stack([row[table.slices[slice_name]] for row, table in zip(values, self.tables, strict=True)])
        return values if values.size else None

    def mean(self, candidates: str, metric: str, slice_name: str = "all") -> float | None:
        """Mean of a metric of ranks or of recommendation lists over seeds and users.

        A metric of lists is over the lists of all test users. None if the results lack what it needs.
        """
        key = (candidates, metric, slice_name)
        if key not in self._means:
            self._means[key] = self._mean(*key)
        return self._means[key]

    @cached_property
    def _means(self) -> dict[tuple[str, str, str], float | None]:
        """The means that were asked for: a board shows many of them several times."""
        return {}

    def _mean(self, candidates: str, metric: str, slice_name: str) -> float | None:
        if not is_list_metric(metric):
            values = self.values(candidates, metric, slice_name)
            return None if values is None else float(values.mean())
        function, k = find_list_metric(metric)
        if self.recommendations is None:
            return None
        return float(np.mean([np.nanmean(function(lists, k)) for lists in self.recommendations]))

    @property
    def recommendations(self) -> tuple[Recommendations, ...] | None:
        """The recommendation lists of each seed; None if one has none.

        Raises:
            HarnessError: a file of lists is missing, or is not the one that its result was made with.
        """
        return _read_lists(self)


@lru_cache(maxsize=64)  # a board asks for one metric of a method several times, by slices and for several tables
def _per_user(entry: Entry, candidates: str, metric: str) -> Floats:
    """Values of a metric for all users: float64 [n_seeds, n_users], not to be written to."""
    function, k = find_metric(metric)
    values = np.stack([function(table.ranks[candidates], k) for table in entry.tables])
    values.setflags(write=False)
    return values


@lru_cache(maxsize=2)
def _read_lists(entry: Entry) -> tuple[Recommendations, ...] | None:
    """The lists of an entry. Only those of the last two are kept, as the lists of a board may not fit in memory."""
    lists = tuple(
        read_recommendations(path, result, table.users, entry.read_items)
        for path, result, table in zip(entry.paths, entry.results, entry.tables, strict=True)
    )
    kept = tuple(each for each in lists if each is not None)
    return kept if len(kept) == len(entry.results) else None


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
    def entries(self) -> list[Entry]:
        """The entries of all scenarios, in order."""
        return [entry for entries in self.scenarios.values() for entry in entries]

    @property
    def results(self) -> list[RunResult]:
        """Every result, in order."""
        return [result for entry in self.entries for result in entry.results]


def results_in(folder: Path) -> frozenset[Path]:
    """Paths of all results in a folder, relative to it."""
    return frozenset(path.relative_to(folder) for path in folder.glob("*/v*/*/*.json") if not is_failure(path))


def collect(folder: Path, suite: str, version: int) -> Board:
    """Reads the results of one version of a suite, from `folder/suite/v<version>`, and those of accepted submissions.

    Raises:
        NoResultsError: there are none.
        HarnessError: a result cannot be read, or results of one scenario were made under different conditions.
    """
    home = folder / suite / f"v{version}"
    written = sorted(home.rglob("*.json"))
    submitted = submitted_results(folder, suite, version)
    paths = [path for path in written if not is_failure(path)] + submitted
    if not paths:
        raise NoResultsError(f"No results of {suite}/v{version} in {folder}.", f"Run: harness run --suite {suite}.")
    for parquet in sorted(home.rglob("*.parquet")):
        expected = result_path_of(parquet)
        if expected is not None and not expected.is_file():
            raise HarnessError(
                f"No result file {expected}, but {parquet.name} is there.", "Restore the file, or run the suite again."
            )
    read_users, read_items = _read_once(TestUsers.from_parquet), cache(CatalogueItems.from_parquet)
    runs: dict[str, dict[str, list[tuple[RunResult, RankTable, Path]]]] = defaultdict(lambda: defaultdict(list))
    first: dict[str, tuple[Path, RunResult, RankTable]] = {}
    first_seed: dict[tuple[str, str], tuple[Path, RunResult]] = {}
    for path in paths:
        result, table = read_result(path, read_users)
        if result.suite != suite or path not in (folder / result.path, submitted_path(folder, result)):
            raise HarnessError(
                f"{path} holds the result of {result.path}.",
                "Move it there, or delete it and run the suite again.",
            )
        scenario = result.scenario.name
        other_path, other, other_table = first.setdefault(scenario, (path, result, table))
        _check_same(path, shared_conditions(result), other_path, shared_conditions(other))
        seed_path, seed = first_seed.setdefault((scenario, result.method), (path, result))
        _check_same(path, _of_method(result), seed_path, _of_method(seed))
        check_slices(path, table, other_path, other_table)
        runs[scenario][result.method].append((result, table, path))
    return Board(
        suite,
        version,
        {
            scenario: tuple(_entry(method, seeds, read_items) for method, seeds in sorted(methods.items()))
            for scenario, methods in sorted(runs.items())
        },
        tuple(read_failure(path) for path in written if is_failure(path)),
    )


def _entry(
    method: str,
    seeds: Sequence[tuple[RunResult, RankTable, Path]],
    read_items: Callable[[Path], CatalogueItems],
) -> Entry:
    results, tables, paths = zip(*seeds, strict=True)
    return Entry(method, results, tables, paths, read_items)


def _read_once(read: Callable[[Path], TestUsers]) -> Callable[[Path], TestUsers]:
    """A reader that gives one object for files of the same bytes, such as those of scenarios with one target."""
    by_content: dict[str, TestUsers] = {}

    @cache
    def reader(path: Path) -> TestUsers:
        sha256 = file_digest(path) if path.is_file() else ""
        if sha256 not in by_content:
            by_content[sha256] = read(path)
        return by_content[sha256]

    return reader


def shared_conditions(result: RunResult) -> dict[str, object]:
    """What all results of a scenario must have in common."""
    drawn = {name: record.digest for name, record in result.candidates.items()}
    return {
        **result.conditions,
        "instants of the split": result.scenario.split,
        "drawn candidates": drawn,
        "k-core": result.scenario.k_core,
        "test users": result.users_sha256,
    }


def _of_method(result: RunResult) -> dict[str, object]:
    """What all seeds of a method must have in common."""
    return {
        "settings": result.settings,
        "content": result.content,
        "reference": result.reference,
        "domains learnt from": list(result.learns_from),
        "makers": "code outside the harness" if result.outside else "the harness",
    }


def _check_same(path: Path, conditions: dict[str, object], other_path: Path, others: dict[str, object]) -> None:
    for aspect, value in conditions.items():
        if value != others[aspect]:
            raise HarnessError(
                f"{path} and {other_path} were made with different {aspect} ({difference(value, others[aspect])}): "
                "they cannot stand in one table.",
                "Run the suite again, or delete the one that does not belong.",
            )


def check_slices(path: Path, table: RankTable, other_path: Path, other: RankTable) -> None:
    """Compares the slices that both have. The rows are of the same users: results of a scenario share their file."""
    common = table.slices.keys() & other.slices.keys()
    if any((table.slices[name] != other.slices[name]).any() for name in common):
        raise HarnessError(
            f"{path} and {other_path} put the same users into different slices: they cannot stand in one table.",
            "Run the suite again, or delete the one that does not belong.",
        )
