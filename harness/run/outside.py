"""Scores a file of scores or ranked lists that code outside the harness made, by the suite's protocol."""

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

from rich.console import Console

from harness.data.domain import Ints
from harness.errors import HarnessError
from harness.evaluation.candidate_sets import (
    NotApplicable,
    PreparesCandidates,
    RankContext,
    Ranking,
    make_candidate_set,
)
from harness.evaluation.file_scores import CandidateRecorder, IncompleteScoresError
from harness.methods.artefact import no_progress
from harness.protocol.negatives import candidates_digest
from harness.protocol.overlap import user_ids_in_files
from harness.protocol.recommendations import LIST_LENGTH
from harness.protocol.scenario import Scenario
from harness.protocol.split import DomainTraining, HeldOut, TrainingData
from harness.protocol.suite import Suite
from harness.results.failure import failure_path, is_failure
from harness.results.files import publish_result, read_record
from harness.results.record import Cost, OutsideRecord, RunResult, result_path
from harness.run.memory import PeakMemory
from harness.run.outside_check import TestRows, check_drawn, check_not_only_drawn, coverage, match
from harness.run.outside_file import format_of, read_scores
from harness.run.plan import Run, check_beside
from harness.run.progress import make_console, show_progress
from harness.run.provenance import HARNESS_CODE, package_versions
from harness.run.publish import publishing
from harness.run.scenario_data import check_pinned, open_test, open_training
from harness.run.score import Outcome, write_result
from harness.run.suite import CACHE, DATA, OUTPUT, write_board
from harness.run.workspace import Workspace, open_workspace
from harness.storage.code_identity import source_digest
from harness.storage.files import check_writable, digest, file_digest
from harness.suites import current_suite, pick_scenarios
from harness.suites.methods import check_free_name

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}")


@dataclass(frozen=True)
class ScoredFile:
    """What `score_file` did.

    Attributes:
        result: the result.
        path: its file.
        board_path: the leaderboard's file.
    """

    result: RunResult
    path: Path
    board_path: Path | None


def score_file(
    path: Path,
    suite: Suite | str,
    scenario: str,
    name: str,
    *,
    seed: int = 0,
    form: str | None = None,
    drawn: Mapping[str, Path] = MappingProxyType({}),
    output_dir: Path = OUTPUT,
    cache_dir: Path = CACHE,
    data_dir: Path = DATA,
    keep_lists: bool = True,
    console: Console | None = None,
) -> ScoredFile:
    """Rank a scenario's held-out items by the scores or lists of a file, and put the result on the leaderboard.

    Args:
        path: a file of scores of the whole catalogue, or of lists of its best items.
        suite: a suite, its name, or the path of a .yaml file.
        scenario: its name.
        name: of the row on the leaderboard.
        seed: of the row.
        form: format of the files. None: by their suffixes.
        drawn: by name of a drawn candidate set, a file with scores of all its candidates.
        output_dir: folder of results and leaderboards.
        cache_dir: folder of prepared data.
        data_dir: folder of the data sets' files.
        keep_lists: keep each user's top-k list beside the ranks.
        console: where progress is shown. None: the standard error.

    Raises:
        HarnessError: a malformed file, or one with unknown users or items; a name that a method has; results of the
            scenario that were made under other conditions.
    """
    suite, console = current_suite(suite), console or make_console(stderr=True)
    _check_name(suite, name)
    (chosen,) = pick_scenarios(suite, [scenario])
    results = output_dir / "results"
    check_writable(output_dir)
    result_file = results / result_path(suite.name, suite.version, scenario, name, seed)
    _check_replaceable(result_file)
    files = {"full": path, **drawn}
    _check_exist(files.values())
    with show_progress(console) as progress:
        workspace = open_workspace(
            suite, cache_dir=cache_dir, data_dir=data_dir, domains=chosen.domains, progress=progress
        )
    described: dict[str, object] = {
        "settings": {},
        "content": {},
        "reference": None,
        "domains learnt from": list(chosen.domains),
    }
    check_beside(workspace, chosen, results, {result_file}, {name: described})
    digests = {of: file_digest(file) for of, file in files.items()}
    forms = {of: form or format_of(file) for of, file in files.items()}
    key = _key(workspace, chosen, name, seed, digests, forms, keep_lists)
    if not workspace.store.has("run", key):
        _make(workspace, Run(chosen, name, seed, key), files, digests, forms, keep_lists)
    return _publish(workspace, key, output_dir, console)


def _publish(workspace: Workspace, key: str, output_dir: Path, console: Console) -> ScoredFile:
    results = output_dir / "results"
    with publishing(output_dir, console.print):
        result = publish_result(workspace.store.read("run", key).folder, results)
        failure_path(results / result.path).unlink(missing_ok=True)
        board_path, _ = write_board(output_dir, workspace, failures=False)
    return ScoredFile(result, results / result.path, board_path)


def _check_name(suite: Suite, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise HarnessError(f"{name[:80]!r} is no name.", "Use letters, digits and . _ + -, a letter or digit first.")
    if name in {*suite.methods, *suite.more_methods, *suite.variants}:
        raise HarnessError(f"{name!r} is a method of {suite.id}.", "Choose another name.")
    check_free_name(name)


def _check_exist(files: Iterable[Path]) -> None:
    for file in files:
        if not file.is_file():
            raise HarnessError(f"There is no file {file}.", "Check the path.")


def _check_replaceable(path: Path) -> None:
    """Check that no result of a method is in the place of the new one, or stands for another seed of it."""
    name = path.stem.rpartition("-seed")[0]
    for other in path.parent.glob(f"{name}-seed*.json"):
        if not is_failure(other) and read_record(other).outside is None:
            raise HarnessError(f"{other} is the result of a method that the harness ran.", "Choose another --name.")


def _key(
    workspace: Workspace,
    scenario: Scenario,
    name: str,
    seed: int,
    digests: Mapping[str, str],
    forms: Mapping[str, str],
    keep_lists: bool,
) -> str:
    suite = workspace.suite
    return digest(
        {
            "suite": suite.id,
            "scenario": [scenario.name, scenario.target, list(scenario.sources)],
            "conditions": suite.conditions(scenario, workspace.fingerprints),
            "candidate_seed": suite.candidate_seed,
            "outside": name,
            "seed": seed,
            "files": dict(digests),
            "formats": dict(forms),
            "lists": keep_lists,
            "code": source_digest(*HARNESS_CODE),
            "packages": package_versions(),
        }
    )


def _make(
    workspace: Workspace,
    run: Run,
    files: Mapping[str, Path],
    digests: Mapping[str, str],
    forms: Mapping[str, str],
    keep_lists: bool,
) -> None:
    """Ranks by the files, and stores the result."""
    started = time.perf_counter()
    with PeakMemory("cpu") as peak:
        training = open_training(workspace, run.scenario)
        target = training.target_domain
        test = open_test(workspace, run.scenario)
        tables = drawn_tables(workspace, run.scenario, test, target)
        rows = _read(workspace, training, test, files, forms, tables)
        covered = coverage(rows["full"], test, len(target.catalogue))
        for name, table in tables.items() if covered.list_length is not None else ():
            check_not_only_drawn(rows["full"], name, table, len(target.catalogue))
        rankings = _rank(workspace, test, target, rows, LIST_LENGTH if keep_lists else 0)
    described: dict[str, object] = {
        "settings": {},
        "tuning": None,
        "learns_from": run.scenario.domains,
        "reference": None,
        "training": (),
        "outside": OutsideRecord(
            files=dict(digests),
            lists=rows["full"].source.ranked,
            other_users=rows["full"].other_users,
            **asdict(covered),
        ),
    }
    seconds = round(time.perf_counter() - started, 3)
    cost = Cost(fit_s=0.0, score_s=seconds, peak_memory_mb=peak.megabytes(), artefacts=())
    shas = {name: candidates_digest(table) for name, table in tables.items()}
    outcome = Outcome(training, test, rankings, described, source_digest(*HARNESS_CODE), cost, shas)
    with workspace.store.write("run", run.key, {"label": f"{run.label}, scored outside"}) as folder:
        write_result(folder, workspace, run, outcome)


def drawn_tables(workspace: Workspace, scenario: Scenario, test: HeldOut, target: DomainTraining) -> dict[str, Ints]:
    """The candidates of each of the suite's drawn candidate sets: int64 [n_users, n_candidates]."""
    tables = {}
    for name in workspace.suite.candidates:
        candidate_set = make_candidate_set(name)
        if isinstance(candidate_set, PreparesCandidates):
            recorder = CandidateRecorder()
            context = RankContext(workspace.store, workspace.suite.candidate_seed)
            ranking = candidate_set.rank(recorder, test, target, context)
            if isinstance(ranking, Ranking):
                check_pinned(workspace.suite, scenario, name, ranking.digest)
                tables[name] = recorder.candidates
    return tables


def _read(
    workspace: Workspace,
    training: TrainingData,
    test: HeldOut,
    files: Mapping[str, Path],
    forms: Mapping[str, str],
    tables: Mapping[str, Ints],
) -> dict[str, TestRows]:
    """The rows of the files by candidate set, checked against users, items and candidates."""
    target = training.target_domain
    n_items = len(target.catalogue)
    user_ids = user_ids_in_files(target, workspace.suite.spec(target.name).source.users)
    rows = {}
    for name, path in files.items():
        if name != "full" and name not in tables:
            drawn = ", ".join(tables) or "none"
            raise HarnessError(f"{name!r} is no drawn candidate set of {workspace.suite.id}.", f"It has {drawn}.")
        rows[name] = match(read_scores(path, forms[name]), user_ids, test, target)
        if name != "full":
            check_drawn(rows[name], name, tables[name], n_items)
    return rows


def _rank(
    workspace: Workspace,
    test: HeldOut,
    target: DomainTraining,
    rows: Mapping[str, TestRows],
    list_length: int,
) -> dict[str, Ranking | NotApplicable]:
    """Ranks among each of the suite's candidate sets.

    `full` takes lists. Any other candidate set needs a score for each of its candidates, from a file of its own or from
    that of `full`: an item that is not listed has no order among them.
    """
    suite = workspace.suite
    rankings: dict[str, Ranking | NotApplicable] = {}
    for name in suite.candidates:
        scorer = rows.get(name, rows["full"]).scorer(test, target, is_complete=name != "full")
        context = RankContext(workspace.store, suite.candidate_seed, suite.least_recall, list_length, no_progress)
        candidate_set = make_candidate_set(name)
        try:
            rankings[name] = candidate_set.rank(scorer, test, target, context)
        except IncompleteScoresError:
            rankings[name] = NotApplicable("the file does not score all of its candidates")
    return rankings
