"""The command line: each command parses options, calls the harness and prints.

Heavy modules are imported inside the commands, so that `--help` and completion answer at once.
"""

import math
import os
import signal
import sys
import time
from typing import Annotated

import typer

from harness import __version__
from harness.cli import (
    cache,
    compare,
    data,
    doctor,
    extend,
    inspect,
    leaderboard,
    outside,
    recommend,
    report,
    reproduce,
    run,
    schema,
    status,
    submit,
    tune,
)
from harness.cli.options import cache_of_one_command
from harness.errors import HarnessError, one_line
from harness.methods.error_origin import plugin_behind

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
app.command("leaderboard")(leaderboard.leaderboard)
app.command("report")(report.report)
app.command("status")(status.status)
app.command("doctor")(doctor.doctor)
app.command("compare")(compare.compare)
app.command("show")(compare.show)
app.command("ls")(run.list_all)
app.command("export")(inspect.export)
app.command("recommend")(recommend.recommend)
app.command("diagnose")(inspect.diagnose)
app.command("score")(outside.score)
app.command("export-run")(outside.export_run)
app.command("schema")(schema.schema)
app.command("submit")(submit.submit)
app.command("check-submission")(submit.check_submission)
app.command("reproduce")(reproduce.reproduce)
app.command("check-method")(extend.check_method)
app.command("new")(extend.new)
app.add_typer(data.app, name="data")
app.add_typer(cache.app, name="cache")


def main() -> None:
    """The entry point: a `HarnessError` becomes one line and exit code 2, Ctrl-C becomes 130."""
    debug = "--debug" in sys.argv[1:]
    if debug:
        sys.argv.remove("--debug")
        os.environ["HARNESS_DEBUG"] = "1"
    _stop_once()
    try:
        with cache_of_one_command():
            app()
    except HarnessError as error:
        if debug:
            raise
        print(f"harness: {error}", file=sys.stderr)
        sys.exit(2)
    except SystemExit as stop:
        if stop.code in [128 + number for number in _STOPPING]:
            # Cleaned up: a further signal must not change the exit code, also while the interpreter exits.
            for number in _STOPPING:
                signal.signal(number, signal.SIG_IGN)
        if stop.code == 128 + signal.SIGINT:  # what typer makes of Ctrl-C
            print(
                "harness: Interrupted. What is finished is kept; run the same command again to resume.", file=sys.stderr
            )
        raise
    except Exception as error:
        if debug:
            raise
        plugin = plugin_behind(error)
        whose = f"{plugin} failed" if plugin else "A bug"
        hint = "Report it to its authors, with what --debug prints" if plugin else "Report it, with what --debug prints"
        print(one_line(f"harness: {whose}: {type(error).__name__}: {error}. {hint}."), file=sys.stderr)
        sys.exit(1)


#: Signals that stop a command.
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Seconds after a first Ctrl-C or SIGTERM in which further ones are ignored.
_CLEAN_UP_S = 10


def _stop_once() -> None:
    """Let Ctrl-C, SIGTERM and a closed terminal stop the command once, so that they do not interrupt the clean-up.

    For some seconds only, as the exception of the first signal is lost if it is raised in a finaliser.
    """
    last = -math.inf

    def stop(number: int, _: object) -> None:
        nonlocal last
        if time.monotonic() - last < _CLEAN_UP_S:
            return
        last = time.monotonic()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    for number in _STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup says
            signal.signal(number, stop)


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
    if "WORLD_SIZE" not in os.environ:  # not started by a launcher
        return
    from harness.training.distributed import launched

    if launched() and context.invoked_subcommand != "run":
        raise HarnessError(
            f"harness {context.invoked_subcommand} runs in one process, but was started in several.",
            "Start it without `accelerate launch` or `torchrun`, which are for harness run.",
        )
