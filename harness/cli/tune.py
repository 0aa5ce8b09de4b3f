"""The command that chooses methods' settings."""

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import (
    CACHE,
    DATA,
    CacheDir,
    DataDir,
    Device,
    Jobs,
    Json,
    Methods,
    OnError,
    OnErrorChoice,
    Scenarios,
    SuiteName,
)
from harness.cli.run import print_failures
from harness.errors import HarnessError, one_line

if TYPE_CHECKING:
    from harness.run.workers import Failure

EXAMPLES = """

Every method gets the number of trials, the cap on epochs and the patience of the suite's budget. The settings are
written beside the suite's file, one file for each method and the domains it learns from, and `harness run` reads them.

Examples:

- `harness tune --suite cdsr-amazon/v1` tunes all methods that are not tuned yet

- `harness tune --suite cdsr-amazon/v1 --method sasrec --scenario beauty-from-sports` tunes a part

- `harness tune --suite my-suite.yaml --method markov --again` tunes it again
"""


def tune(
    suite: SuiteName,
    method: Methods = None,
    scenario: Scenarios = None,
    again: Annotated[bool, typer.Option("--again", help="Also tune what was tuned before.")] = False,
    cache_dir: CacheDir = CACHE,
    data_dir: DataDir = DATA,
    jobs: Jobs = None,
    device: Device = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be tuned and stop.")] = False,
    on_error: OnError = OnErrorChoice.GO_ON,
    as_json: Json = False,
) -> None:
    """Tune methods."""
    from harness.run.execute import default_jobs
    from harness.run.execute import tune as carry_out
    from harness.run.methods import select_methods, unavailable
    from harness.run.progress import make_console, show_progress
    from harness.run.tune import check_tuning, tuning_tasks
    from harness.run.workspace import open_workspace, remove_unfinished
    from harness.storage.files import check_writable
    from harness.suites import load_suite, pick_scenarios
    from harness.training.device import pick_device
    from harness.tuning.record import read_tuning

    started = time.perf_counter()
    console = make_console(stderr=as_json)
    loaded, names = select_methods(load_suite(suite), method)
    budget = loaded.budget
    if budget.trials == 1:
        raise HarnessError(
            f"The budget of {loaded.id} has one trial, which is every method's defaults: there is nothing to tune.",
            "Give a suite of your own more trials.",
        )
    scenarios = pick_scenarios(loaded, scenario) if scenario else loaded.scenarios
    reasons = {name: reason for name in names if (reason := unavailable(loaded, name))}
    tasks = tuning_tasks(loaded, scenarios, [name for name in names if name not in reasons])
    missing = [task for task in tasks if again or read_tuning(task.path) is None]
    console.print(
        f"{loaded.id}: {len(missing)} to tune, {len(tasks) - len(missing)} tuned before; "
        f"{budget.trials} trials each, at most {budget.epochs} epochs, patience {budget.patience}"
    )
    for task in missing:
        console.print(f"  tune {task.label}")
    for name, reason in reasons.items():
        console.print(one_line(f"  skipped: {name}: {reason}"))
    failures: Mapping[str, Failure] = {}
    if not dry_run and missing:
        check_writable(loaded.tuned)
        remove_unfinished(loaded.tuned)
        with show_progress(console) as progress:
            workspace = open_workspace(
                loaded, cache_dir=cache_dir, data_dir=data_dir, device=pick_device(device), progress=progress
            )
            ready = []
            for task in missing:
                unsuited = check_tuning(workspace, task)
                if unsuited:
                    progress.say(f"  skipped: {task.label}: {unsuited}")
                else:
                    ready.append(task)
            stop = on_error is OnErrorChoice.STOP
            failures = carry_out(
                ready, workspace, default_jobs(workspace.device) if jobs is None else jobs, progress, stop
            )
    tunings = {task.label: read_tuning(task.path) for task in tasks}
    if as_json:
        tuned = {label: tuning.model_dump(mode="json") for label, tuning in tunings.items() if tuning}
        typer.echo(json.dumps({"tuned": tuned, "missing": [k for k, t in tunings.items() if t is None]}, indent=1))
    for label, tuning in tunings.items():
        if tuning and not as_json:
            scores = ", ".join("diverged" if t.validation is None else f"{t.validation:.4f}" for t in tuning.trials)
            settings = ", ".join(f"{name.rpartition('.')[2]} {value}" for name, value in tuning.chosen.items())
            console.print(f"{label}: {settings}  (validation NDCG@10 of the trials: {scores})")
    if not dry_run and not as_json:
        console.print(f"Settings: {loaded.tuned}   Time: {time.perf_counter() - started:.0f} s")
    if failures:
        print_failures(failures)
        raise typer.Exit(1)
