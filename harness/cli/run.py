"""Commands that run suites and make leaderboards."""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import (
    CACHE,
    DATA,
    OUTPUT,
    AllMethods,
    CacheDir,
    DataDir,
    Device,
    Jobs,
    Json,
    Methods,
    OnError,
    OnErrorChoice,
    OutputDir,
    Scenarios,
    Seeds,
    SuiteName,
)
from harness.errors import HarnessError, one_line

if TYPE_CHECKING:
    from rich.console import Console

    from harness.run.estimate import TaskEstimate
    from harness.run.workers import Failure

EXAMPLES = """

Examples:

- `harness run --suite cdsr` makes all runs that are not in the cache

- `harness run --suite cdsr --dry-run` prints the plan only

- `harness run --suite cdsr --method weaverec --method joint --seed 0` runs a part

- `harness run --suite cdsr --json` prints each run's metrics and files as JSON

- `harness run --suite cdsr --missing` makes only runs without a result in `leaderboards`

- `harness run --suite cdsr --limit 50` tries everything with 50 users of each domain

- `harness run --suite my-suite.yaml` runs a suite of your own

- `harness run --suite cdsr --on-error stop` stops at the first run that fails

- `accelerate launch --multi_gpu --module harness.cli run --suite paper` trains each component on all GPUs
"""


def run(
    suite: SuiteName,
    method: Methods = None,
    all_methods: AllMethods = False,
    scenario: Scenarios = None,
    seed: Seeds = None,
    output_dir: OutputDir = OUTPUT,
    cache_dir: CacheDir = CACHE,
    data_dir: DataDir = DATA,
    jobs: Jobs = None,
    device: Device = "auto",
    missing: Annotated[
        bool, typer.Option("--missing", help="Only runs without a result in the output folder.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="A trial run with this many users of each domain. It trains and scores by them alone, and its results "
            "stay in the cache folder, off the leaderboards, unless --output-dir names another.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    on_error: OnError = OnErrorChoice.GO_ON,
    lists: Annotated[bool, typer.Option("--lists/--no-lists", help="Keep each user's top-20 list of items.")] = True,
    energy: Annotated[
        bool,
        typer.Option("--energy", help="Track energy by codecarbon, offline. Cached trainings keep what they have."),
    ] = False,
    country: Annotated[
        str | None, typer.Option(help="With --energy: whose electricity, for CO2, as in DEU (ISO 3166-1 alpha-3).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a suite."""
    if country is not None and not energy:
        raise HarnessError("--country is for --energy.", "Add --energy.")
    from harness.run.progress import make_console
    from harness.run.suite import run_suite

    started = time.perf_counter()
    console = make_console(stderr=as_json)
    if limit is not None and output_dir == OUTPUT:
        output_dir = cache_dir / "limited"
    with _stdout_kept() if as_json else nullcontext():
        suite_run = run_suite(
            suite,
            methods=method,
            all_methods=all_methods,
            scenarios=scenario,
            seeds=seed,
            output_dir=output_dir,
            cache_dir=cache_dir,
            data_dir=data_dir,
            device=device,
            jobs=jobs,
            missing=missing,
            user_limit=limit,
            dry_run=dry_run,
            stop_on_error=on_error is OnErrorChoice.STOP,
            keep_lists=lists,
            energy=energy,
            country=country,
            console=console,
        )
    if console.quiet:  # a secondary process of a distributed run, with nothing to write or clean up
        # A normal interpreter exit can abort while backend threads still hold tensors.
        os._exit(0)
    if dry_run:
        if as_json:
            typer.echo(json.dumps(suite_run.plan.as_json(), indent=1))
    elif as_json:
        from harness.report.run_json import results_json

        runs = [(run.scenario.name, run.method, run.seed) for run in suite_run.plan.runs]
        done = {
            "leaderboard": suite_run.board_path and str(suite_run.board_path),
            "results": results_json(suite_run.board, runs),
            "failed": {failed.run.id: failed.failure.cause for failed in suite_run.failed},
        }
        typer.echo(json.dumps({**suite_run.plan.as_json(), **done}, indent=1))
    elif suite_run.report and suite_run.board_path:
        _show_board(console, suite_run.board_path)
        for line in suite_run.report.leaks:
            console.print(line)
        console.print(f"Leaderboard: {suite_run.board_path}")
        console.print(f"Results:     {suite_run.results}")
        console.print(f"Cache:       {cache_dir}   Time: {time.perf_counter() - started:.0f} s")
    if suite_run.failed:
        print_failures({failed.run.id: failed.failure for failed in suite_run.failed}, suite_run.log)
        raise typer.Exit(1)


@contextmanager
def _stdout_kept() -> Iterator[None]:
    """Send what methods and their libraries print, in this and other processes, to the standard error."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def plan(
    suite: SuiteName,
    method: Methods = None,
    all_methods: AllMethods = False,
    scenario: Scenarios = None,
    seed: Seeds = None,
    cache_dir: CacheDir = CACHE,
    data_dir: DataDir = DATA,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Print what a run would train and score, and the tokens, memory and time that takes. Starts nothing.

    Example: `harness plan --suite paper --method ranker.weaverec --seed 0`
    """
    from harness.run.estimate import SHARE_REACHED, matrix_rate, scoring_estimates, training_estimates
    from harness.run.methods import select_methods
    from harness.run.plan import check_plan, make_plan
    from harness.run.progress import make_console, show_progress
    from harness.run.workspace import open_workspace
    from harness.suites import current_suite, pick_scenarios
    from harness.training.device import pick_device

    console = make_console(stderr=as_json)
    loaded, methods = select_methods(current_suite(suite), method, all_methods)
    device = pick_device(device)
    scenarios = pick_scenarios(loaded, scenario) if scenario else loaded.scenarios
    with show_progress(console) as progress:
        workspace = open_workspace(loaded, cache_dir=cache_dir, data_dir=data_dir, device=device, progress=progress)
    run_plan = make_plan(workspace, scenarios, methods, seed or loaded.seeds)
    for line in () if as_json else (f"{loaded.id}: {loaded.title}", *run_plan.lines()):
        console.print(one_line(line))
    trainings, scorings = training_estimates(run_plan), scoring_estimates(run_plan, workspace)
    rate = matrix_rate(device)
    speed = SHARE_REACHED[device] * rate
    if as_json:
        rows = {
            name: [{**asdict(each), "hours": each.flops / speed / 3600} for each in estimates]
            for name, estimates in (("estimates", trainings), ("scoring", scorings))
        }
        typer.echo(json.dumps({**run_plan.as_json(), **rows}, indent=1))
        return
    try:
        check_plan(run_plan, loaded)
    except HarnessError as error:  # a plan needs no weights; a run does
        console.print(one_line(f"Before a run: {error}"))
    if trainings or scorings:
        _print_estimates([*trainings, *scorings], speed)
        per_core = " a core" if device == "cpu" else ""
        console.print(
            f"Times: of one worker, at {SHARE_REACHED[device]:.0%} of the speed of matrix products ({device}, "
            f"{rate / 1e9:,.0f} GFLOP/s{per_core}). Trainings: up to their cap on steps; most stop earlier. Not "
            "estimated: RecBole's models, scoring by vectors, and the choice of merges of such models."
        )


def _print_estimates(estimates: "Sequence[TaskEstimate]", speed: float) -> None:
    """Print a table of what tasks take at a speed (operations a second), and of all together."""
    from tabulate import tabulate

    table = [
        [
            each.label,
            f"{each.tokens / 1e6:,.1f} million",
            "" if each.memory_gb is None else f"{each.memory_gb:.1f} GB",
            f"{each.flops / speed / 3600:.2f} h",
        ]
        for each in estimates
    ]
    tokens, flops = sum(each.tokens for each in estimates), sum(each.flops for each in estimates)
    table.append(["together", f"{tokens / 1e6:,.1f} million", "", f"{flops / speed / 3600:.2f} h"])
    typer.echo(tabulate(table, ["task", "tokens", "memory", "time"], tablefmt="pipe", disable_numparse=True))


def list_all(
    published: Annotated[
        bool, typer.Option("--published", help="List figures that others have published, and their protocols.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List suites with their scenarios, and methods. For data sets, see `harness data list`.

    Example: `harness ls --published`
    """
    if published:
        from harness.cli.published import print_published

        print_published(as_json)
        return
    from harness.methods.registry import family_names, method_names, not_installed
    from harness.suites import load_suite, suite_names

    missing_reasons = not_installed()
    methods = [name for name in method_names() if name not in missing_reasons]
    families = [name for name in (f"{name}.<name>" for name in family_names()) if name not in missing_reasons]
    suites = {name: load_suite(name) for name in suite_names()}
    if as_json:
        scenarios = {name: [scenario.name for scenario in suite.scenarios] for name, suite in suites.items()}
        listing = {"suites": scenarios, "methods": methods, "families": families, "not_installed": missing_reasons}
        typer.echo(json.dumps(listing, indent=1))
        return
    for suite in suites.values():
        typer.echo(f"suite {suite.id}: {suite.title}")
        for scenario in suite.scenarios:
            typer.echo(f"  scenario {scenario.name}")
    typer.echo(f"methods: {', '.join([*methods, *families])}")
    for reason in dict.fromkeys(missing_reasons.values()):
        names = ", ".join(name for name, other in missing_reasons.items() if other == reason)
        typer.echo(one_line(f"not installed: {names}: {reason}"))


def _show_board(console: "Console", path: Path) -> None:
    from rich.markdown import Markdown

    text = path.read_text(encoding="utf-8")
    # A terminal gets the overview as a drawn table; a pipe gets the file as it is.
    if console.is_terminal:
        console.print(Markdown(text.partition("\n## ")[2].partition("\n## ")[0]))
    else:
        typer.echo(text)


def print_failures(failures: "Mapping[str, Failure]", log: Path | None) -> None:
    """Print failures, their causes and the log to standard error; with --debug, also tracebacks."""
    for label, failure in failures.items():
        if "HARNESS_DEBUG" in os.environ and failure.details:
            typer.echo(failure.details, err=True)
        typer.echo(one_line(f"harness: {label} failed: {failure.cause}"), err=True)
    typer.echo(f"harness: What is finished is kept; the same command tries the rest again. Tracebacks: {log}", err=True)
