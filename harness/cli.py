"""The command line: every command a thin call into a module below."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import __version__
from harness.errors import HarnessError

if TYPE_CHECKING:
    from rich.console import Console

    from harness.protocol.scenario import Suite
    from harness.run.plan import Plan

# Heavy imports are made inside the commands, so that `--help` and completion answer at once.

app = typer.Typer(
    name="harness",
    help="A benchmark and evaluation harness for cross-domain sequential recommendation.",
    epilog="Start with: harness run --suite cdsr",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

OutputDir = Annotated[
    Path, typer.Option(help="Where results and leaderboards go.", envvar="HARNESS_OUTPUT", file_okay=True)
]
CacheDir = Annotated[
    Path, typer.Option(help="Where prepared data and trained artefacts are kept.", envvar="HARNESS_CACHE")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text.")]

_EXAMPLES = """

Examples:

- `harness run --suite cdsr` runs everything, or what is missing of it

- `harness run --suite cdsr --dry-run` prints the plan only

- `harness run --suite cdsr --method weaverec --method joint --seed 0` runs a part

- `harness run --suite my-suite.yaml` runs a suite of your own
"""


def main() -> None:
    """The entry point: errors of the user's become one line and exit code 2, Ctrl-C becomes 130."""
    debug = "--debug" in sys.argv[1:]
    if debug:
        sys.argv.remove("--debug")
        os.environ["HARNESS_DEBUG"] = "1"
    # A polite kill is tidied up after like Ctrl-C, and reported by its own exit code.
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app()
    except HarnessError as error:
        if debug:
            raise
        print(f"harness: {error}", file=sys.stderr)
        sys.exit(2)
    except SystemExit as stop:
        if stop.code == 128 + signal.SIGINT:  # what typer makes of Ctrl-C
            print(
                "harness: Interrupted. What was finished is kept; the same command goes on from there.", file=sys.stderr
            )
        raise
    except Exception as error:
        if debug:
            raise
        print(
            f"harness: A bug: {type(error).__name__}: {error}. Run again with --debug and report what it prints.",
            file=sys.stderr,
        )
        sys.exit(1)


def _terminated(*_: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback(epilog="With --debug, any command shows where an error arose.")
def _harness(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    """A benchmark and evaluation harness for cross-domain sequential recommendation."""


def _complete_suites(incomplete: str) -> list[str]:
    folder = Path(__file__).parent / "suites"
    return sorted(path.stem for path in folder.glob(f"{incomplete}*.yaml"))


def _complete_methods(incomplete: str) -> list[str]:
    from harness.method import method_names

    return [name for name in method_names() if name.startswith(incomplete)]


@app.command(help="Run a suite: train what is missing, score, and rebuild its leaderboard." + _EXAMPLES)
def run(
    suite: Annotated[
        str, typer.Option(help="Name of a suite, or path of a .yaml file.", autocompletion=_complete_suites)
    ],
    method: Annotated[
        list[str] | None,
        typer.Option(help="Run only this method (may be repeated).", autocompletion=_complete_methods),
    ] = None,
    scenario: Annotated[list[str] | None, typer.Option(help="Run only this scenario (may be repeated).")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Run only this seed (may be repeated).", min=0)] = None,
    output_dir: OutputDir = Path("leaderboards"),
    cache_dir: CacheDir = Path(".harness"),
    jobs: Annotated[
        int | None, typer.Option(help="Worker processes. Default: one a core as memory allows; one on a GPU.", min=1)
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: cuda where there is one.")] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Runs a suite."""
    from rich.console import Console

    from harness.files import check_writable
    from harness.run.execute import Workplace, default_jobs, execute
    from harness.run.opening import prepare_domains
    from harness.run.plan import make_plan
    from harness.run.progress import bars
    from harness.run.publish import publish
    from harness.run.store import Store
    from harness.suites import load_suite, pick_scenarios

    started = time.perf_counter()
    console = Console(stderr=as_json, soft_wrap=True, highlight=False)
    chosen = load_suite(suite)
    scenarios = pick_scenarios(chosen, scenario) if scenario else chosen.scenarios
    chosen_device = _device(device)
    domains, store = cache_dir / "domains", Store(cache_dir / "store")
    if not dry_run:
        check_writable(output_dir)
    check_writable(cache_dir)
    fingerprints = prepare_domains(chosen.domains, domains)
    plan = make_plan(chosen, scenarios, method or chosen.methods, seed or chosen.seeds, fingerprints, domains, store)
    _print_plan(console, chosen, plan)
    if dry_run:
        if as_json:
            typer.echo(json.dumps(_plan_json(plan), indent=1))
        return
    workers = jobs or default_jobs(chosen_device)
    debug = "HARNESS_DEBUG" in os.environ
    with bars(console) as shown:
        execute(plan, Workplace(chosen, fingerprints, domains, store.root, chosen_device, debug), workers, shown)
    publish(plan, store, output_dir / "results")
    board = _write_board(output_dir, chosen.name)
    if as_json:
        typer.echo(json.dumps({**_plan_json(plan), "leaderboard": str(board), "results": str(output_dir / "results")}))
        return
    from rich.markdown import Markdown

    text = board.read_text(encoding="utf-8")
    # A terminal gets the overview as a drawn table; a pipe gets the file as it is.
    if console.is_terminal:
        console.print(Markdown(text.partition("\n## ")[2].partition("\n## ")[0]))
    else:
        typer.echo(text)
    console.print(f"Leaderboard: {board}")
    console.print(f"Results:     {output_dir / 'results' / chosen.name}")
    console.print(f"Kept for reuse: {cache_dir}   Time: {time.perf_counter() - started:.0f} s")


@app.command()
def leaderboard(
    suite: Annotated[str | None, typer.Option(help="Only this suite. Default: all with results.")] = None,
    output_dir: OutputDir = Path("leaderboards"),
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; exit with 1 if a board is not what its results give."),
    ] = False,
) -> None:
    """Rebuild leaderboards from result files, without training anything.

    Example: `harness leaderboard --check`
    """
    from harness.report.collect import collect
    from harness.report.leaderboard import leaderboard as render

    results = output_dir / "results"
    names = [suite] if suite else sorted(path.name for path in results.glob("*") if path.is_dir())
    if not names:
        raise HarnessError(f"No results in {results}.", "Run: harness run --suite cdsr.")
    differing = []
    for name in names:
        path = output_dir / f"{name}.md"
        if not check:
            typer.echo(str(_write_board(output_dir, name)))
            continue
        text = render(collect(results, name))
        same = path.is_file() and path.read_text(encoding="utf-8") == text
        typer.echo(f"{path}: {'as its results give' if same else 'differs from what its results give'}")
        if not same:
            differing.append(path)
    if differing:
        typer.echo("Run: harness leaderboard", err=True)
        raise typer.Exit(1)


@app.command("ls")
def list_all(as_json: Json = False) -> None:
    """List suites with their scenarios, and methods."""
    from harness.method import method_names
    from harness.suites import load_suite, suite_names

    suites = {name: load_suite(name) for name in suite_names()}
    if as_json:
        scenarios = {name: [scenario.name for scenario in suite.scenarios] for name, suite in suites.items()}
        typer.echo(json.dumps({"suites": scenarios, "methods": method_names()}, indent=1))
        return
    for name, suite in suites.items():
        typer.echo(f"suite {name} v{suite.version}: {suite.title}")
        for scenario in suite.scenarios:
            typer.echo(f"  scenario {scenario.name}")
    typer.echo(f"methods: {', '.join(method_names())}")


def _device(asked: str) -> str:
    if asked not in ("auto", "cpu", "cuda"):
        raise HarnessError.unknown("device", asked, ["auto", "cpu", "cuda"])
    if asked == "cpu":
        return asked
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if asked == "cuda":
        raise HarnessError("--device cuda: PyTorch sees no GPU.", "Use --device cpu, or a CUDA build of PyTorch.")
    return "cpu"


def _write_board(output_dir: Path, suite: str) -> Path:
    from harness.files import write_atomically
    from harness.report.collect import collect
    from harness.report.leaderboard import leaderboard as render

    path = output_dir / f"{suite}.md"
    write_atomically(path, render(collect(output_dir / "results", suite)))
    return path


def _print_plan(console: "Console", suite: "Suite", plan: "Plan") -> None:
    here = len(plan.runs) - len(plan.missing)
    lines = [
        f"{suite.name} v{suite.version}: {suite.title}",
        f"  runs:     {len(plan.runs)}, of which {here} are here already and {len(plan.missing)} are to be made",
        f"  training: {len(plan.trainings)} to be trained, {len(plan.reused)} reused",
        *(f"    train {training.label}" for training in plan.trainings),
        *(f"    reuse {training.label}" for training in plan.reused),
    ]
    # No markup: a title of the user's may hold brackets.
    console.print("\n".join(lines), markup=False)


def _plan_json(plan: "Plan") -> dict[str, object]:
    return {
        "runs": len(plan.runs),
        "missing": [f"{run.scenario.name}/{run.method}-seed{run.seed}" for run in plan.missing],
        "trained": [training.label for training in plan.trainings],
        "reused": [training.label for training in plan.reused],
    }


if __name__ == "__main__":
    main()
