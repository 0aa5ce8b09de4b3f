"""The command line: every command a thin call into a module below.

Heavy imports are made inside the commands, so that `--help` and completion answer at once.
"""

import os
import signal
import sys
from typing import Annotated

import typer

from harness import __version__
from harness.cli import data, fitted, run, tune
from harness.errors import HarnessError

app = typer.Typer(
    name="harness",
    help="A benchmark and evaluation harness for cross-domain sequential recommendation.",
    epilog="Start with: harness run --suite cdsr",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command("run", help="Run a suite: train what is missing, score, and rebuild its leaderboard." + run.EXAMPLES)(
    run.run
)
app.command("tune", help="Choose methods' settings on validation data, with an equal budget." + tune.EXAMPLES)(
    tune.tune
)
app.command("plan")(run.plan)
app.command("leaderboard")(run.leaderboard)
app.command("ls")(run.list_all)
app.command("export")(fitted.export)
app.command("diagnose")(fitted.diagnose)
app.add_typer(data.app, name="data")


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
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,  # noqa: ARG001
) -> None:
    """A benchmark and evaluation harness for cross-domain sequential recommendation."""
    from harness.together import launched

    if launched() and context.invoked_subcommand != "run":
        raise HarnessError(
            f"harness {context.invoked_subcommand} works in one process, and was started in several.",
            "Start it without `accelerate launch` or `torchrun`; they are for harness run.",
        )
