"""The command that chooses methods' settings."""

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.console import make_console
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
from harness.cli.prepare import prepare_shown
from harness.cli.run import tell_failures
from harness.errors import HarnessError, one_line
from harness.training.device import pick_device

if TYPE_CHECKING:
    from harness.run.workers import Failure

EXAMPLES = """

Every method gets the same number of trials, the cap on epochs and the patience of the suite's budget. What is found
stands beside the suite's file, a file for each method and the domains it looks at, and `harness run` takes it from
there.

Examples:

- `harness tune --suite cdsr-amazon/v1` tunes everything, or what is missing of it

- `harness tune --suite cdsr-amazon/v1 --method sasrec --scenario beauty-from-sports` tunes a part

- `harness tune --suite my-suite.yaml --method markov --again` tunes anew
"""


def tune(
    suite: SuiteName,
    method: Methods = None,
    scenario: Scenarios = None,
    again: Annotated[bool, typer.Option("--again", help="Tune anew what was tuned before.")] = False,
    cache_dir: CacheDir = CACHE,
    data_dir: DataDir = DATA,
    jobs: Jobs = None,
    device: Device = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be tuned and stop.")] = False,
    on_error: OnError = OnErrorChoice.GO_ON,
    as_json: Json = False,
) -> None:
    """Chooses settings."""
    from harness.run.execute import Workplace, default_jobs, remove_what_was_left, tune
    from harness.run.methods import select_methods, unavailable
    from harness.run.progress import bars
    from harness.run.tune import check_study, studies_of
    from harness.storage.files import check_writable
    from harness.storage.store import Store
    from harness.suites import load_suite, pick_scenarios
    from harness.tuning.record import read_tuning

    started = time.perf_counter()
    console = make_console(stderr=as_json)
    chosen, methods = select_methods(load_suite(suite), method)
    if chosen.budget.trials == 1:
        raise HarnessError(
            f"The budget of {chosen.id} has one trial, which is every method's defaults: there is nothing to tune.",
            "Give a suite of your own more trials.",
        )
    scenarios = pick_scenarios(chosen, scenario) if scenario else chosen.scenarios
    lacking = {name: lacks for name in methods if (lacks := unavailable(chosen, name))}
    studies = studies_of(chosen, scenarios, [name for name in methods if name not in lacking])
    missing = [study for study in studies if again or read_tuning(study.path) is None]
    console.print(
        f"{chosen.id}: {len(studies)} to tune, {len(studies) - len(missing)} tuned before; "
        f"{chosen.budget.trials} trials each, at most {chosen.budget.epochs} epochs, "
        f"patience {chosen.budget.patience}"
    )
    for study in missing:
        console.print(f"  tune {study.label}")
    for name, lacks in lacking.items():
        console.print(one_line(f"  skipped: {name}: {lacks}"))
    failed: Mapping[str, Failure] = {}
    if not dry_run and missing:
        check_writable(chosen.tuned)
        check_writable(cache_dir)
        remove_what_was_left(cache_dir, chosen.tuned)
        domains = prepare_shown(console, chosen.domains, cache_dir, data_dir)
        ready = []
        for study in missing:
            reason = check_study(chosen, study, domains)
            if reason:
                console.print(one_line(f"  skipped: {study.label}: {reason}"))
            else:
                ready.append(study)
        used = pick_device(device)
        place = Workplace(chosen, domains, Store(cache_dir / "store").root, used, on_error is OnErrorChoice.STOP)
        with bars(console) as shown:
            failed = tune(ready, place, jobs or default_jobs(used), shown)
    found = {study.label: read_tuning(study.path) for study in studies}
    if as_json:
        done = {label: tuning.model_dump(mode="json") for label, tuning in found.items() if tuning}
        typer.echo(json.dumps({"tuned": done, "missing": [label for label, t in found.items() if t is None]}, indent=1))
    for label, tuning in found.items():
        if tuning and not as_json:
            scores = ", ".join("diverged" if t.validation is None else f"{t.validation:.4f}" for t in tuning.trials)
            settings = ", ".join(f"{name.rpartition('.')[2]} {value}" for name, value in tuning.chosen.items())
            console.print(f"{label}: {settings}  (validation NDCG@10 of the trials: {scores})")
    if not dry_run and not as_json:
        console.print(f"Settings: {chosen.tuned}   Time: {time.perf_counter() - started:.0f} s")
    if failed:
        tell_failures(failed)
        raise typer.Exit(1)
