"""The command that chooses methods' settings."""

import json
import time
from typing import Annotated

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

EXAMPLES = """

Every method gets the number of trials, the cap on epochs and the patience of the suite's budget. The settings are
written beside the suite's file, one file for each method and the domains it learns from, and `harness run` reads them.

Examples:

- `harness tune --suite my-suite.yaml` tunes all methods that are not tuned yet

- `harness tune --suite my-suite.yaml --method sasrec --scenario books-from-films` tunes a part

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
    from harness.run.progress import make_console
    from harness.run.suite import tune_suite

    started = time.perf_counter()
    console = make_console(stderr=as_json)
    done = tune_suite(
        suite,
        methods=method,
        scenarios=scenario,
        again=again,
        cache_dir=cache_dir,
        data_dir=data_dir,
        device=device,
        jobs=jobs,
        dry_run=dry_run,
        stop_on_error=on_error is OnErrorChoice.STOP,
        console=console,
    )
    tunings = done.tunings
    if as_json:
        tuned = {label: tuning.model_dump(mode="json") for label, tuning in tunings.items() if tuning}
        typer.echo(json.dumps({"tuned": tuned, "missing": [k for k, t in tunings.items() if t is None]}, indent=1))
    for label, tuning in tunings.items():
        if tuning and not as_json:
            scores = ", ".join("diverged" if t.validation is None else f"{t.validation:.4f}" for t in tuning.trials)
            settings = ", ".join(f"{name.rpartition('.')[2]} {value}" for name, value in tuning.chosen.items())
            console.print(f"{label}: {settings}  (validation NDCG@10 of the trials: {scores})")
    if not dry_run and not as_json:
        console.print(f"Settings: {done.suite.tuned}   Time: {time.perf_counter() - started:.0f} s")
    if done.failures:
        print_failures(done.failures, done.log)
        raise typer.Exit(1)
