"""Commands that run suites and make leaderboards."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.console import make_console
from harness.cli.options import (
    CACHE,
    DATA,
    OUTPUT,
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
from harness.cli.prepare import prepare_shown
from harness.errors import HarnessError, one_line
from harness.training.device import pick_device

if TYPE_CHECKING:
    from rich.console import Console

    from harness.protocol.scenario import Suite
    from harness.report.collect import Board
    from harness.run.plan import Plan, Run, SkippedRun
    from harness.run.workers import Failure

#: Share of the speed of plain matrix products that a training reaches.
_SPEED_REACHED = 0.4

EXAMPLES = """

Examples:

- `harness run --suite cdsr` runs everything, or what is missing of it

- `harness run --suite cdsr --dry-run` prints the plan only

- `harness run --suite cdsr --method weaverec --method joint --seed 0` runs a part

- `harness run --suite cdsr-amazon --missing` adds what the results in `leaderboards` lack, and makes none of them anew

- `harness run --suite my-suite.yaml` runs a suite of your own

- `harness run --suite cdsr --on-error stop` stops at the first run that fails, rather than going on with the others

- `accelerate launch --multi_gpu --module harness.cli run --suite paper` trains each component on all GPUs
"""


def run(
    suite: SuiteName,
    method: Methods = None,
    scenario: Scenarios = None,
    seed: Seeds = None,
    output_dir: OutputDir = OUTPUT,
    cache_dir: CacheDir = CACHE,
    data_dir: DataDir = DATA,
    jobs: Jobs = None,
    device: Device = "auto",
    missing: Annotated[bool, typer.Option("--missing", help="Only what the output folder has no result of.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    on_error: OnError = OnErrorChoice.GO_ON,
    as_json: Json = False,
) -> None:
    """Runs a suite."""
    from harness.report.collect import NoResultsError, results_in
    from harness.run.execute import (
        Workplace,
        check_files,
        default_jobs,
        execute,
        remove_what_was_left,
        train_together,
    )
    from harness.run.methods import select_methods
    from harness.run.plan import check_results, make_plan
    from harness.run.progress import bars
    from harness.run.publish import publish, publishing, record_failures
    from harness.storage.files import check_writable, remove_leftovers
    from harness.storage.store import Store
    from harness.suites import load_suite, pick_scenarios
    from harness.training.distributed import process_group

    started = time.perf_counter()
    console = make_console(stderr=as_json)
    chosen, methods = select_methods(load_suite(suite), method)
    scenarios = pick_scenarios(chosen, scenario) if scenario else chosen.scenarios
    chosen_device = pick_device(device)
    store = Store(cache_dir / "store")
    if not dry_run:
        check_writable(output_dir)
    check_writable(cache_dir)
    with process_group(chosen_device) as processes:
        console.quiet = not processes.main
        if processes.main:
            remove_what_was_left(cache_dir)
            if not dry_run:
                remove_what_was_left(output_dir / "results")
                remove_leftovers(output_dir, deep=False)  # the user's own folders may be below
        with processes.main_first():
            domains = prepare_shown(console, chosen.domains, cache_dir, data_dir)
        there = results_in(output_dir / "results") if missing else ()
        plan = make_plan(chosen, scenarios, methods, seed or chosen.seeds, domains, store, there)
        check_results(plan, chosen, domains, output_dir / "results")
        _print_plan(console, chosen, plan)
        place = Workplace(chosen, domains, store.root, chosen_device, on_error is OnErrorChoice.STOP)
        check_files(plan, chosen)
        if processes.count > 1 and not dry_run:
            with bars(console) as shown:
                train_together(plan, place, processes, shown)
    if not processes.main:
        # It has written nothing and has nothing to tidy up. Python's own end is where threads of the processes' backend
        # that still hold tensors abort a process that did all its work.
        os._exit(0)
    if dry_run:
        if as_json:
            typer.echo(json.dumps(_plan_json(plan), indent=1))
        return
    with bars(console) as shown:
        failed = execute(plan, place, jobs or default_jobs(chosen_device), shown)
    with publishing(output_dir, console.print):
        publish(plan, store, output_dir / "results", failed)
        record_failures(chosen, plan, failed, output_dir / "results")
        try:
            board, read = _write_board(output_dir, chosen.name, chosen.version)
        except NoResultsError:
            if not failed:
                raise
            board, read = None, None
    if as_json:
        failures = {_run_id(each.run): each.failure.cause for each in failed}
        written = {"leaderboard": board and str(board), "results": str(output_dir / "results"), "failed": failures}
        typer.echo(json.dumps({**_plan_json(plan), **written}))
    elif board and read:
        _show_board(console, board)
        for line in _guards(read):
            console.print(line)
        console.print(f"Leaderboard: {board}")
        console.print(f"Results:     {output_dir / 'results' / chosen.id}")
        console.print(f"Kept for reuse: {cache_dir}   Time: {time.perf_counter() - started:.0f} s")
    if failed:
        tell_failures({_run_id(each.run): each.failure for each in failed})
        raise typer.Exit(1)


def plan(
    suite: SuiteName,
    method: Methods = None,
    scenario: Scenarios = None,
    seed: Seeds = None,
    cache_dir: CacheDir = CACHE,
    data_dir: DataDir = DATA,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Say what a run would train, and what that takes: tokens, memory and time. Starts nothing.

    Example: `harness plan --suite paper --method ranker.weaverec --seed 0`
    """
    from tabulate import tabulate

    from harness.run.execute import check_files
    from harness.run.methods import select_methods
    from harness.run.plan import make_plan
    from harness.storage.files import check_writable
    from harness.storage.store import Store
    from harness.suites import load_suite, pick_scenarios
    from harness.training.device import flops_per_second

    console = make_console(stderr=as_json)
    chosen, methods = select_methods(load_suite(suite), method)
    scenarios = pick_scenarios(chosen, scenario) if scenario else chosen.scenarios
    used = pick_device(device)
    check_writable(cache_dir)
    domains = prepare_shown(console, chosen.domains, cache_dir, data_dir)
    made = make_plan(chosen, scenarios, methods, seed or chosen.seeds, domains, Store(cache_dir / "store"))
    # Under two splits, two trainings have one label.
    known = [(t.label, made.estimates[t.key]()) for t in made.trainings if t.key in made.estimates]
    speed = _SPEED_REACHED * flops_per_second(used)
    hours = [estimate.flops / speed / 3600 for _, estimate in known]
    if as_json:
        estimates = [
            {"training": label, **asdict(estimate), "hours": own}
            for (label, estimate), own in zip(known, hours, strict=True)
        ]
        typer.echo(json.dumps({**_plan_json(made), "estimates": estimates}, indent=1))
        return
    _print_plan(console, chosen, made)
    try:
        check_files(made, chosen)
    except HarnessError as error:  # a plan needs no weights; a run does
        console.print(one_line(f"Before a run: {error}"))
    if not known:
        return
    rows = [
        [label, f"{e.tokens / 1e6:,.1f} million", f"{e.memory_gb:.1f} GB", f"{own:.2f} h"]
        for (label, e), own in zip(known, hours, strict=True)
    ]
    rows.append(["together", f"{sum(e.tokens for _, e in known) / 1e6:,.1f} million", "", f"{sum(hours):.2f} h"])
    typer.echo(tabulate(rows, ["training", "tokens", "memory", "time"], tablefmt="pipe", disable_numparse=True))
    console.print(
        f"Times: at {_SPEED_REACHED:.0%} of what this machine's {used} multiplies matrices with, "
        f"{speed / _SPEED_REACHED / 1e9:,.0f} GFLOP/s, one training at a time. RecBole's models and scoring are not "
        "estimated."
    )


def leaderboard(
    suite: Annotated[str | None, typer.Option(help="Only this suite. Default: all with results.")] = None,
    output_dir: OutputDir = OUTPUT,
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; exit with 1 if a file is not what its results give."),
    ] = False,
    readme: Annotated[
        Path | None,
        typer.Option(
            help="Also write the overviews between `<!-- leaderboard: SUITE -->` and `<!-- end -->` in this file. "
            "Default: README.md beside the output folder, if it has any."
        ),
    ] = None,
) -> None:
    """Rebuild leaderboards from result files, without training anything.

    Example: `harness leaderboard --check`
    """
    from harness.report.collect import boards_in, collect
    from harness.report.leaderboard import leaderboard as render
    from harness.report.leaderboard import overview
    from harness.report.readme import suites_shown, with_overviews
    from harness.storage.files import write_atomically

    results = output_dir / "results"
    boards = boards_in(results, suite)
    if not boards:
        of = f" of suite {suite!r}" if suite else ""
        raise HarnessError(f"No results{of} in {results}.", f"Run: harness run --suite {suite or 'cdsr'}.")
    beside = output_dir.parent / "README.md"
    shown = readme or beside
    text_of = shown.read_text(encoding="utf-8") if readme is None and beside.is_file() else ""
    in_readme = readme is not None or bool(suites_shown(text_of))
    texts: dict[Path, str] = {}
    overviews: dict[str, str] = {}
    for name, version in boards:  # versions rise, so the newest one's overview stays
        board = collect(results, name, version)
        texts[_board_path(output_dir, name, version)] = render(board)
        overviews[name] = overview(board)
    if in_readme:
        texts[shown] = with_overviews(shown, overviews.get)
    differing = []
    for path, text in texts.items():
        same = path.is_file() and path.read_text(encoding="utf-8") == text
        if not check:
            write_atomically(path, text)
            typer.echo(str(path))
            continue
        typer.echo(f"{path}: {'as its results give' if same else 'differs from what its results give'}")
        if not same:
            differing.append(path)
    if differing:
        typer.echo("Run: harness leaderboard", err=True)
        raise typer.Exit(1)


def list_all(as_json: Json = False) -> None:
    """List suites with their scenarios, and methods. For data sets, see `harness data list`."""
    from harness.methods.registry import family_names, method_names, not_installed
    from harness.suites import load_suite, suite_names

    lacking = not_installed()
    methods = [name for name in method_names() if name not in lacking]
    families = [name for name in (f"{name}.<name>" for name in family_names()) if name not in lacking]
    suites = {name: load_suite(name) for name in suite_names()}
    if as_json:
        scenarios = {name: [scenario.name for scenario in suite.scenarios] for name, suite in suites.items()}
        listed = {"suites": scenarios, "methods": methods, "families": families, "not_installed": lacking}
        typer.echo(json.dumps(listed, indent=1))
        return
    for suite in suites.values():
        typer.echo(f"suite {suite.id}: {suite.title}")
        for scenario in suite.scenarios:
            typer.echo(f"  scenario {scenario.name}")
    typer.echo(f"methods: {', '.join([*methods, *families])}")
    for reason in dict.fromkeys(lacking.values()):
        names = ", ".join(name for name, other in lacking.items() if other == reason)
        typer.echo(one_line(f"not installed: {names}: {reason}"))


def _board_path(output_dir: Path, suite: str, version: int) -> Path:
    return output_dir / f"{suite}-v{version}.md"


def _write_board(output_dir: Path, suite: str, version: int) -> "tuple[Path, Board]":
    from harness.report.collect import collect
    from harness.report.leaderboard import leaderboard as render
    from harness.storage.files import write_atomically

    path = _board_path(output_dir, suite, version)
    board = collect(output_dir / "results", suite, version)
    write_atomically(path, render(board))
    return path, board


def _show_board(console: "Console", path: Path) -> None:
    from rich.markdown import Markdown

    text = path.read_text(encoding="utf-8")
    # A terminal gets the overview as a drawn table; a pipe gets the file as it is.
    if console.is_terminal:
        console.print(Markdown(text.partition("\n## ")[2].partition("\n## ")[0]))
    else:
        typer.echo(text)


def tell_failures(failures: "Mapping[str, Failure]") -> None:
    """Tells on the standard error what failed and why; with --debug, where in the code too."""
    for label, failure in failures.items():
        if "HARNESS_DEBUG" in os.environ and failure.details:
            typer.echo(failure.details, err=True)
        typer.echo(one_line(f"harness: {label} failed: {failure.cause}"), err=True)
    typer.echo("harness: What is finished is kept; the same command tries the rest again.", err=True)


def _guards(board: "Board") -> list[str]:
    """For each scenario whose split lets training know of the test, or show what came after it, how much it does."""
    from harness.report.leaderboard import guard, guarded

    found = {name: entries[0].results[0] for name, entries in board.scenarios.items()}
    return [f"{name}: {guard(result)}" for name, result in found.items() if not guarded(result)]


def _print_plan(console: "Console", suite: "Suite", plan: "Plan") -> None:
    here = len(plan.runs) - len(plan.missing)
    # A line for all that lack the same.
    skipped: dict[str, dict[str, None]] = {}
    for each in plan.skipped:
        skipped.setdefault(each.reason, {})[f"{each.method} on {each.scenario.name}"] = None
    lines = [
        f"{suite.id}: {suite.title}",
        f"  runs:     {len(plan.runs)}, of which {here} are here already and {len(plan.missing)} are to be made",
        f"  training: {len(plan.trainings)} to be trained, {len(plan.reused)} reused",
        *(f"    train {training.label}" for training in plan.trainings),
        *(f"    reuse {training.label}" for training in plan.reused),
        *(f"  skipped:  {', '.join(runs)}: {reason}" for reason, runs in skipped.items()),
    ]
    console.print("\n".join(map(one_line, lines)))


def _run_id(run: "Run | SkippedRun") -> str:
    return f"{run.scenario.name}/{run.method}-seed{run.seed}"


def _plan_json(plan: "Plan") -> dict[str, object]:
    return {
        "runs": len(plan.runs),
        "missing": list(map(_run_id, plan.missing)),
        "trained": [training.label for training in plan.trainings],
        "reused": [training.label for training in plan.reused],
        "skipped": {_run_id(each): each.reason for each in plan.skipped},
    }
