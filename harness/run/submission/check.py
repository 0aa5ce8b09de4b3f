"""Checks a submission as a continuous integration job does: nothing of it is run, and nothing in it is believed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.errors import HarnessError, one_line
from harness.protocol.metrics import per_user
from harness.protocol.suite import Suite
from harness.results.files import items_path, read_recommendations, read_result
from harness.results.ranks_table import RankTable
from harness.results.record import RunResult
from harness.results.submission import MANIFEST, path_in_submission, read_strict_json
from harness.results.users import CatalogueItems
from harness.run.progress import NO_PROGRESS, Progress
from harness.run.submission.against_data import check_with_data
from harness.run.submission.beside import check_beside_board, check_pinned_conditions
from harness.run.submission.consistency import (
    check_card,
    check_duplicates,
    check_environments,
    check_name,
    check_seeds,
)
from harness.run.submission.expected import ExpectedScenario, expected_scenario
from harness.run.submission.files import SubmittedFiles, check_files
from harness.run.submission.rows import check_lists, check_ranks
from harness.run.submission.suite_fingerprint import suite_fingerprint
from harness.run.workspace import open_workspace
from harness.suites import load_suite, pick_scenarios, suite_names, suite_versions

_AGAIN = "Make the results again with this suite, and pack again."


#: Whether a submission must be compared with the suite's data.
DataCheck = Literal["required", "optional", "skip"]


class NoDataError(HarnessError):
    """The data of a suite are not here."""


@dataclass(frozen=True)
class CheckedSubmission:
    """A submission without faults.

    Attributes:
        folder: of the submission.
        suite: name and version.
        method: its method.
        results: number of its results.
        rows: number of rows of ranks in them.
        not_compared: why they were not compared with the suite's data; None if they were.
    """

    folder: Path
    suite: str
    method: str
    results: int
    rows: int
    not_compared: str | None = None


def check_submission(
    folder: Path,
    *,
    output_dir: Path,
    cache_dir: Path,
    data_dir: Path,
    suite: Suite | None = None,
    data: DataCheck = "required",
    progress: Progress = NO_PROGRESS,
) -> CheckedSubmission:
    """Check a submission.

    Args:
        folder: of the submission.
        output_dir: the output folder whose results it joins.
        cache_dir: folder of prepared data.
        data_dir: folder of the data sets' files.
        suite: the suite, if it is none of the shipped ones.
        data: whether to compare users, held-out items and fingerprints with the suite's data: always, where the data
            can be rebuilt, or never.
        progress: told of the preparation of data.

    Raises:
        HarnessError: the first fault, with its file and row; or the data are not here, but required.
    """
    files = check_files(folder)
    suite = _suite_of(files, suite)
    check_name(files, suite)
    tables: dict[Path, RankTable] = {}
    results: dict[Path, RunResult] = {}
    for path in files.results:
        results[path], tables[path] = _read(path, files, suite)
    check_card(files, results, suite)
    check_environments(files, results)
    check_seeds(results)
    check_duplicates(files, results, output_dir)
    for path, result in results.items():
        check_pinned_conditions(path, result, suite)
        check_beside_board(path, result, tables[path], output_dir)
    not_compared = "it was not asked for" if data == "skip" else None
    try:
        scenarios = () if data == "skip" else _rebuilt(suite, results, cache_dir, data_dir, progress)
    except NoDataError as error:
        if data == "required":
            raise
        scenarios, not_compared = (), one_line(error.what)
    for expected in scenarios:
        for path, result in results.items():
            if result.scenario.name == expected.scenario.name:
                check_with_data(path, result, tables[path], expected)
    rows = sum(len(table.users) for table in tables.values())
    return CheckedSubmission(folder, suite.id, files.manifest.method, len(results), rows, not_compared)


def _suite_of(files: SubmittedFiles, suite: Suite | None) -> Suite:
    """The suite of a submission, which must be current and unchanged."""
    manifest, path = files.manifest, files.folder / MANIFEST
    if suite is None:
        if manifest.suite not in suite_names():
            unknown = HarnessError.unknown("suite", manifest.suite, suite_names(), "Or name its file with --suite.")
            raise HarnessError(f"{path}: suite: {unknown.what}", unknown.hint)
        newest = suite_versions(manifest.suite)[-1]
        if manifest.suite_version != newest:
            raise HarnessError(f"{path}: suite_version: {manifest.suite_version}, but the newest is {newest}.", _AGAIN)
        suite = load_suite(manifest.id)
    if suite.id != manifest.id:
        raise HarnessError(f"{path}: it is of {manifest.id}, not of {suite.id}.", "Name its suite with --suite.")
    if suite.retired:
        raise HarnessError(f"{path}: {suite.id} is retired: {suite.retired}", "Submit to its newest version.")
    if manifest.suite_fingerprint != suite_fingerprint(suite):
        raise HarnessError(f"{path}: suite_fingerprint: not that of {suite.id}.", _AGAIN)
    return suite


def _read(path: Path, files: SubmittedFiles, suite: Suite) -> tuple[RunResult, RankTable]:
    """A result that is in its place, of the suite and the method, and agrees with its own ranks and lists."""
    read_strict_json(path)
    result, table = read_result(path)
    if (result.suite, result.suite_version) != (suite.name, suite.version):
        raise HarnessError(f"{path}: it is of {result.suite}/v{result.suite_version}, not of {suite.id}.", _AGAIN)
    if result.method != files.manifest.method or path.relative_to(files.folder) != path_in_submission(result):
        raise HarnessError(
            f"{path}: it holds {result.method} on {result.scenario.name}, seed {result.seed}.",
            f"The place of that is {path_in_submission(result)}.",
        )
    if result.scenario.name not in {scenario.name for scenario in suite.scenarios}:
        raise HarnessError(f"{path}: {suite.id} has no scenario {result.scenario.name!r}.", _AGAIN)
    _check_metrics(path, result, table)
    check_ranks(path, result, table)
    recommendations = read_recommendations(path, result, table.users)
    if recommendations is not None:
        catalogue = CatalogueItems.from_parquet(items_path(path))
        check_lists(path, table, recommendations.items, table.users, catalogue)
    return result, table


def _check_metrics(path: Path, result: RunResult, table: RankTable) -> None:
    """Check that the result holds each metric that the ranks give, and no other; `read_result` compared the values."""
    for name, record in result.candidates.items():
        expected = set(per_user(table.ranks[name])) if name in table.ranks else set()
        for slice_name, metrics in (record.metrics or {}).items():
            odd = sorted(set(metrics) ^ expected)
            if odd:
                what = "missing" if odd[0] in expected else "not a metric that ranks give"
                raise HarnessError(
                    f"{path}: candidates.{name}.metrics.{slice_name}: {odd[0]!r} is {what}.",
                    "Leave results as the harness writes them.",
                )


def _rebuilt(
    suite: Suite, results: Mapping[Path, RunResult], cache_dir: Path, data_dir: Path, progress: Progress
) -> Iterable[ExpectedScenario]:
    """The scenarios of the results, from the suite's data, one after the other.

    Raises:
        NoDataError: the data are not here, or not what the suite pins.
    """
    scenarios = pick_scenarios(suite, {result.scenario.name for result in results.values()})
    domains = {name for scenario in scenarios for name in scenario.domains}
    try:
        workspace = open_workspace(
            suite, cache_dir=cache_dir, data_dir=data_dir, domains=sorted(domains), progress=progress
        )
    except HarnessError as error:
        raise NoDataError(
            f"The data of {suite.id} cannot be rebuilt here: {error}", "With --data skip, all else is checked."
        ) from error
    return (expected_scenario(workspace, scenario) for scenario in scenarios)
