"""Commands that ask a method for its model, or why it scores as it does."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli.console import make_console
from harness.cli.options import (
    CACHE,
    DATA,
    OUTPUT,
    CacheDir,
    DataDir,
    Device,
    Json,
    OutputDir,
    SuiteName,
    complete_methods,
)
from harness.cli.prepare import prepare_shown
from harness.training.device import pick_device

ScenarioName = Annotated[str, typer.Option(help="Which scenario; `harness ls` lists them.")]
MethodName = Annotated[str, typer.Option(help="Which method.", autocompletion=complete_methods)]
Seed = Annotated[int, typer.Option(help="Which seed.", min=0)]


def export(
    suite: SuiteName,
    scenario: ScenarioName,
    folder: Annotated[Path, typer.Argument(help="A new folder for the model.")],
    method: MethodName = "weaverec",
    seed: Seed = 0,
    cache_dir: CacheDir = CACHE,
    data_dir: DataDir = DATA,
    device: Device = "auto",
) -> None:
    """Write a method's merged model as a plain Hugging Face folder.

    What is trained already is taken from the cache. The folder loads with `AutoModel.from_pretrained`, without PEFT.

    Example: `harness export --suite cdsr --scenario drama-from-action --method weaverec my-model`
    """
    from harness.run.inspect import export
    from harness.run.progress import meter

    console, place = _place(suite, scenario, method, cache_dir, data_dir, device, False)
    with meter(console) as report:
        export(**place, seed=seed, folder=folder, report=partial(report, f"{method} on {scenario}"))
    console.print(f"Model: {folder}")


def diagnose(
    suite: SuiteName,
    scenario: ScenarioName,
    method: MethodName = "weaverec",
    seed: Seed = 0,
    output_dir: OutputDir = OUTPUT,
    cache_dir: CacheDir = CACHE,
    data_dir: DataDir = DATA,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Show why a merge wins or loses: its components' scores, their distances, and the lines between them.

    Reads train and validation only. Writes tables and plots into `diagnostics` of the output folder.

    Example: `harness diagnose --suite cdsr --scenario drama-from-action+comedy`
    """
    from harness.report.diagnostics import write_diagnosis
    from harness.run.inspect import diagnose
    from harness.run.progress import meter
    from harness.run.provenance import git_state

    console, place = _place(suite, scenario, method, cache_dir, data_dir, device, as_json)
    method = place["name"]
    with meter(console) as report:
        found = diagnose(**place, seed=seed, report=partial(report, f"{method} on {scenario}"))
    chosen = place["suite"]
    path = output_dir / "diagnostics" / f"{chosen.name}-v{chosen.version}" / f"{scenario}-{method}-seed{seed}.md"
    commit, clean = git_state()
    made_by = f"Made by commit {commit}{'' if clean else ' and changes to it'}." if commit else "Made by no checkout."
    written = write_diagnosis(f"{method} on {chosen.id}, {scenario}, seed {seed}", made_by, found, path)
    if as_json:
        typer.echo(
            json.dumps({"figures": [asdict(f) for f in found], "files": [str(each) for each in written]}, indent=1)
        )
        return
    typer.echo(path.read_text(encoding="utf-8"))
    for each in written:
        console.print(str(each))


def _place(
    suite: str, scenario: str, method: str, cache_dir: Path, data_dir: Path, device: str, as_json: bool
) -> tuple[Any, dict[str, Any]]:
    from harness.run.execute import remove_what_was_left
    from harness.run.methods import select_methods
    from harness.storage.files import check_writable
    from harness.storage.store import Store
    from harness.suites import load_suite, pick_scenarios

    console = make_console(stderr=as_json)
    chosen, (name,) = select_methods(load_suite(suite), [method])
    (picked,) = pick_scenarios(chosen, [scenario])
    used = pick_device(device)
    check_writable(cache_dir)
    remove_what_was_left(cache_dir)
    domains = prepare_shown(console, [chosen.spec(name) for name in picked.domains], cache_dir, data_dir)
    return console, {
        "suite": chosen,
        "name": name,
        "scenario": picked,
        "domains": domains,
        "store": Store(cache_dir / "store"),
        "device": used,
    }
