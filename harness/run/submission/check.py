"""Checks a submission as a continuous integration job does: nothing of it is run, and nothing in it is believed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.protocol.metrics import per_user
from harness.protocol.suite import Suite
from harness.results.files import items_path, read_recommendations, read_result
from harness.results.ranks_table import RankTable
from harness.results.record import RunResult
from harness.results.submission import MANIFEST, path_in_submission, read_strict_json
from harness.results.users import CatalogueItems
from harness.run.progress import NO_PROGRESS, Progress
from harness.run.submission.against_data import check_with_data
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


@dataclass(frozen=True)
class CheckedSubmission:
    """A submission without faults.

    Attributes:
        folder: of the submission.
        suite: name and version.
        method: its method.
        results: number of its results.
        rows: number of rows of ranks in them.
        with_data: whether they were checked against the suite's data too.
    """

    folder: Path
    suite: str
    method: str
    results: int
    rows: int
    with_data: bool


def check_submission(
    folder: Path,
    *,
    output_dir: Path,
    cache_dir: Path,
    data_dir: Path,
    suite: Suite | None = None,
    with_data: bool = True,
    progress: Progress = NO_PROGRESS,
) -> CheckedSubmission:
    """Check a submission.

    Args:
        folder: of the submission.
        output_dir: the output folder whose results it joins.
        cache_dir: folder of prepared data.
        data_dir: folder of the data sets' files.
        suite: the suite, if it is none of the shipped ones.
        with_data: also compare users, held-out items and fingerprints with the suite's data.
        progress: told of the preparation of data.

    Raises:
        HarnessError: the first fault, with its file and row; or the data are not here.
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
    for expected in _rebuilt(suite, results, cache_dir, data_dir, progress) if with_data else ():
        for path, result in results.items():
            if result.scenario.name == expected.scenario.name:
                check_with_data(path, result, tables[path], expected)
    rows = sum(len(table.users) for table in tables.values())
    return CheckedSubmission(folder, suite.id, files.manifest.method, len(results), rows, with_data)


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
) -> Iterator[ExpectedScenario]:
    """The scenarios of the results, from the suite's data."""
    for scenario in pick_scenarios(suite, {result.scenario.name for result in results.values()}):
        try:
            workspace = open_workspace(
                suite, cache_dir=cache_dir, data_dir=data_dir, domains=scenario.domains, progress=progress
            )
        except HarnessError as error:
            raise HarnessError(
                f"The data of {scenario.name} cannot be rebuilt here: {error}",
                "With --without-data, all else is checked.",
            ) from error
        yield expected_scenario(workspace, scenario)
