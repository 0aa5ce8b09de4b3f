"""Runs or tunes a suite. `run_suite`: prepare, plan, train, score, publish, and write the leaderboard."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from rich.console import Console

from harness.errors import HarnessError, one_line
from harness.protocol.suite import Suite
from harness.report.cached import BoardReport, Reports
from harness.report.collect import Board, collect, results_in
from harness.report.folders import NoResultsError, board_path
from harness.run.energy import energy_line, energy_tracking
from harness.run.execute import FailedRun, default_jobs, execute, train_together, tune
from harness.run.methods import select_methods, unavailable
from harness.run.plan import Plan, check_plan, check_results, make_plan
from harness.run.progress import Progress, make_console, show_progress
from harness.run.publish import publish, publishing
from harness.run.record import CommandRecord, recorded
from harness.run.tune import TuningTask, check_tuning, tuning_tasks
from harness.run.workers import Failure
from harness.run.workspace import Workspace, open_workspace, remove_unfinished
from harness.storage.files import check_writable, write_atomically
from harness.storage.locks import tell_stderr
from harness.suites import current_suite, pick_scenarios
from harness.training.device import pick_device
from harness.training.distributed import process_group
from harness.tuning.record import Tuning, read_tuning

#: Seconds before the first board of a run, and at least between two.
_FIRST_BOARD_S = 30.0

OUTPUT, CACHE, DATA = Path("leaderboards"), Path(".harness"), Path("data")


@dataclass(frozen=True)
class SuiteRun:
    """What `run_suite` did.

    Attributes:
        suite: the suite.
        plan: its plan.
        results: the folder of the suite's results.
        failed: planned runs that failed.
        board_path: the leaderboard's file; None if there are no results.
        report: what it shows; None if there are no results.
        log: the log of the command; None for a dry run.
    """

    suite: Suite
    plan: Plan
    results: Path
    failed: tuple[FailedRun, ...] = ()
    board_path: Path | None = None
    report: BoardReport | None = None
    log: Path | None = None

    @cached_property
    def board(self) -> Board | None:
        """All results of the suite in the output folder, read when it is first asked for; None if there are none."""
        return collect(self.results.parents[1], self.suite.name, self.suite.version) if self.board_path else None


def run_suite(
    suite: Suite | str,
    *,
    methods: Sequence[str] | None = None,
    all_methods: bool = False,
    scenarios: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    output_dir: Path = OUTPUT,
    cache_dir: Path = CACHE,
    data_dir: Path = DATA,
    device: str = "auto",
    jobs: int | None = None,
    missing: bool = False,
    user_limit: int | None = None,
    dry_run: bool = False,
    stop_on_error: bool = False,
    keep_lists: bool = True,
    energy: bool = False,
    country: str | None = None,
    console: Console | None = None,
) -> SuiteRun:
    """Run a suite, or a part of it: train what is missing, score, and rebuild its leaderboard.

    Args:
        suite: a suite, its name (`cdsr`, `cdsr/v1`), or the path of a .yaml file.
        methods: names of methods, or files such as `./my_method.py:Markov`. None: the methods of the suite.
        all_methods: add the suite's `more_methods`.
        scenarios: names of scenarios. None: all.
        seeds: seeds of each method. None: those of the suite.
        output_dir: folder of results and leaderboards.
        cache_dir: folder of prepared data and trained artefacts.
        data_dir: folder of the data sets' files.
        device: `cpu`, `cuda`, or `auto`: cuda where there is one.
        jobs: worker processes; 0: work in this process. None: one a core as memory allows; one a GPU.
        missing: make only runs without a result in the output folder.
        user_limit: a trial run with this many users of each domain, as a suite of another name. None: all users.
        dry_run: plan and check, and stop before anything is trained.
        stop_on_error: stop all runs at the first failure instead of going on with the others.
        keep_lists: keep each user's top-k list beside the ranks.
        energy: track the energy of trainings and runs; needs codecarbon.
        country: ISO 3166-1 alpha-3 code of the country whose electricity is used, for CO2. None: no CO2.
        console: where progress is shown. None: the standard error.

    Returns:
        The plan, the failures and the leaderboard.

    Raises:
        HarnessError: wrong input, found before anything is trained; or, with `stop_on_error`, a failed run.
    """
    suite = current_suite(suite)
    suite, names = select_methods(suite, methods, all_methods)
    suite = suite if user_limit is None else suite.limited(user_limit)
    chosen = pick_scenarios(suite, scenarios) if scenarios else suite.scenarios
    console = console or make_console(stderr=True)
    device = pick_device(device)
    tracking = energy_tracking(country) if energy else None
    results = output_dir / "results"
    if not dry_run:
        check_writable(output_dir)
        check_writable(cache_dir)
    with ExitStack() as recording:
        with process_group(device) as processes:
            console.quiet = console.quiet or not processes.main
            record = None
            if processes.main and not dry_run:
                record = recording.enter_context(recorded(cache_dir, "run", suite.id))
                remove_unfinished(results)
                remove_unfinished(output_dir, deep=False)  # the user's own folders may be below
            with processes.main_first(), _progress(console, record) as progress:
                workspace = open_workspace(
                    suite, cache_dir=cache_dir, data_dir=data_dir, device=device, progress=progress
                )
            existing = results_in(results) if missing else ()
            plan = make_plan(workspace, chosen, names, seeds or suite.seeds, existing, keep_lists)
            check_results(plan, workspace, results)
            for line in (f"{suite.id}: {suite.title}", *plan.lines()):
                console.print(one_line(line))
            check_plan(plan, suite)
            if processes.count > 1 and not dry_run:
                with _progress(console, record) as progress:
                    train_together(plan, workspace, processes, progress)
        if record is None:
            return SuiteRun(suite, plan, results / suite.id)
        growing = _GrowingBoard(workspace, plan, output_dir)
        jobs = default_jobs(device) if jobs is None else jobs
        if tracking is not None and plan.missing:
            tracking = replace(tracking, alone=jobs <= 1)
            workspace = replace(workspace, energy=tracking)
            console.print(energy_line(tracking))
        with _progress(console, record) as progress:
            failed = execute(plan, workspace, jobs, progress, stop_on_error, keep_lists, growing.update)
        with publishing(output_dir, console.print):
            publish(workspace, plan, results, failed)
            path, report = write_board(output_dir, workspace, bool(failed))
    return SuiteRun(suite, plan, results / suite.id, tuple(failed), path, report, record.log)


@contextmanager
def _progress(console: Console, record: CommandRecord | None) -> Iterator[Progress]:
    """Progress that is shown, and recorded if there is a record."""
    with show_progress(console) as progress:
        yield record.watch(progress) if record else progress


class _GrowingBoard:
    """Publishes results and rewrites the board while a suite runs, so that there is something to see early.

    Writing takes at most a twentieth of the time.
    """

    def __init__(self, workspace: Workspace, plan: Plan, output_dir: Path) -> None:
        self._workspace, self._plan, self._output_dir = workspace, plan, output_dir
        self._next = time.monotonic() + _FIRST_BOARD_S

    def update(self) -> None:
        """Publish what is done, unless the last time is too short ago."""
        start = time.monotonic()
        if start < self._next:
            return
        with publishing(self._output_dir, tell_stderr), suppress(HarnessError):
            # Results that the plan will overwrite may not suit the new ones yet; the last board has them all.
            publish(self._workspace, self._plan, self._output_dir / "results")
            write_board(self._output_dir, self._workspace, failures=False)
        now = time.monotonic()
        self._next = now + max(_FIRST_BOARD_S, 20 * (now - start))


@dataclass(frozen=True)
class SuiteTuning:
    """What `tune_suite` did.

    Attributes:
        suite: the suite.
        tasks: all tunings that were asked for.
        failures: of tunings that failed, by their labels.
        log: the log of the command; None if nothing was to be tuned.
    """

    suite: Suite
    tasks: tuple[TuningTask, ...]
    failures: Mapping[str, Failure] = field(default_factory=dict)
    log: Path | None = None

    @property
    def tunings(self) -> dict[str, Tuning | None]:
        """The settings that were chosen, by label; None where a method is not tuned yet."""
        return {task.label: read_tuning(task.path) for task in self.tasks}


def tune_suite(
    suite: Suite | str,
    *,
    methods: Sequence[str] | None = None,
    scenarios: Sequence[str] | None = None,
    again: bool = False,
    cache_dir: Path = CACHE,
    data_dir: Path = DATA,
    device: str = "auto",
    jobs: int | None = None,
    dry_run: bool = False,
    stop_on_error: bool = False,
    console: Console | None = None,
) -> SuiteTuning:
    """Choose methods' settings on validation data, and write them beside the suite's file.

    Args:
        suite, methods, scenarios, cache_dir, data_dir, device, jobs, dry_run, stop_on_error, console: see `run_suite`.
        again: also tune what was tuned before.

    Raises:
        HarnessError: wrong input; a suite whose budget has one trial; or, with `stop_on_error`, a failed tuning.
    """
    suite, names = select_methods(current_suite(suite), methods)
    console = console or make_console(stderr=True)
    if suite.budget.trials == 1:
        raise HarnessError(
            f"The budget of {suite.id} has one trial, which is every method's defaults: there is nothing to tune.",
            "Give a suite of your own more trials.",
        )
    chosen = pick_scenarios(suite, scenarios) if scenarios else suite.scenarios
    reasons = {name: reason for name in names if (reason := unavailable(suite, name))}
    tasks = tuning_tasks(suite, chosen, [name for name in names if name not in reasons])
    missing = [task for task in tasks if again or read_tuning(task.path) is None]
    console.print(
        f"{suite.id}: {len(missing)} to tune, {len(tasks) - len(missing)} tuned before; {suite.budget.trials} trials "
        f"each, at most {suite.budget.epochs} epochs, patience {suite.budget.patience}"
    )
    lines = [f"tune {task.label}" for task in missing] + [f"skipped: {n}: {reason}" for n, reason in reasons.items()]
    for line in lines:
        console.print(one_line(f"  {line}"))
    done = SuiteTuning(suite, tuple(tasks))
    if dry_run or not missing:
        return done
    check_writable(suite.tuned)
    remove_unfinished(suite.tuned)
    device = pick_device(device)
    with recorded(cache_dir, "tune", suite.id) as record, _progress(console, record) as progress:
        workspace = open_workspace(suite, cache_dir=cache_dir, data_dir=data_dir, device=device, progress=progress)
        unsuited = {task: reason for task in missing if (reason := check_tuning(workspace, task))}
        for task, reason in unsuited.items():
            progress.say(f"  skipped: {task.label}: {reason}")
        ready = [task for task in missing if task not in unsuited]
        failures = tune(ready, workspace, default_jobs(device) if jobs is None else jobs, progress, stop_on_error)
    return replace(done, failures=failures, log=record.log)


def write_board(output_dir: Path, workspace: Workspace, failures: bool) -> tuple[Path, BoardReport] | tuple[None, None]:
    """Write a suite's leaderboard.

    Returns:
        Its file and content; None for both if there are failures and no result.

    Raises:
        NoResultsError: there is no result, and no failure explains it.
    """
    suite = workspace.suite
    try:
        report = Reports(output_dir / "results", workspace.store).board(suite.name, suite.version)
    except NoResultsError:
        if not failures:
            raise
        return None, None
    path = board_path(output_dir, suite.name, suite.version)
    write_atomically(path, report.text)
    return path, report
