"""Commands that export or diagnose a fitted method."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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

if TYPE_CHECKING:
    from harness.protocol.scenario import Scenario
    from harness.run.progress import Progress
    from harness.run.workspace import Workspace

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
    from harness.run.progress import make_console, show_progress

    console = make_console(stderr=False)
    with show_progress(console) as progress:
        workspace, chosen, method = _open(suite, scenario, method, cache_dir, data_dir, device, progress)
        export(workspace, chosen, method, seed, folder, partial(progress.step, f"{method} on {scenario}"))
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
    from harness.run.progress import make_console, show_progress
    from harness.run.provenance import git_state

    console = make_console(stderr=as_json)
    with show_progress(console) as progress:
        workspace, chosen, method = _open(suite, scenario, method, cache_dir, data_dir, device, progress)
        tables = diagnose(workspace, chosen, method, seed, partial(progress.step, f"{method} on {scenario}"))
    loaded = workspace.suite
    path = output_dir / "diagnostics" / f"{loaded.name}-v{loaded.version}" / f"{scenario}-{method}-seed{seed}.md"
    commit, clean = git_state()
    made_by = f"Made by commit {commit}{'' if clean else ' and changes to it'}." if commit else "Made by no checkout."
    files = write_diagnosis(f"{method} on {loaded.id}, {scenario}, seed {seed}", made_by, tables, path)
    if as_json:
        contents = {"figures": [asdict(table) for table in tables], "files": [str(file) for file in files]}
        typer.echo(json.dumps(contents, indent=1))
        return
    typer.echo(path.read_text(encoding="utf-8"))
    for file in files:
        console.print(str(file))


def _open(
    suite: str, scenario: str, method: str, cache_dir: Path, data_dir: Path, device: str, progress: "Progress"
) -> "tuple[Workspace, Scenario, str]":
    from harness.run.methods import select_methods
    from harness.run.workspace import open_workspace
    from harness.suites import current_suite, pick_scenarios
    from harness.training.device import pick_device

    loaded, (name,) = select_methods(current_suite(suite), [method])
    (chosen,) = pick_scenarios(loaded, [scenario])
    workspace = open_workspace(
        loaded,
        cache_dir=cache_dir,
        data_dir=data_dir,
        device=pick_device(device),
        domains=chosen.domains,
        progress=progress,
    )
    return workspace, chosen, name
