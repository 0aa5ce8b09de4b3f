"""The command that shows what other commands are doing."""

import json
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import CACHE, CacheDir, Json

if TYPE_CHECKING:
    from harness.run.record import CommandState

#: Seconds between two looks of `--watch`.
_LOOK_S = 2.0


def status(
    cache_dir: CacheDir = CACHE,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every two seconds, until no command is running.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what `harness run` and `harness tune` are doing with a cache: running, waiting, failed, and the time left.

    Of commands that have ended, the last one is shown. Each has a log, with the tracebacks of what failed.

    Examples:

    - `harness status`

    - `harness status --watch`
    """
    from harness.run.record import liveness, read_states

    while True:
        states = [(state, liveness(state)) for state in read_states(cache_dir)]
        active = [pair for pair in states if pair[1] not in ("ended", "died")]
        shown = active or states[:1]
        if as_json:
            typer.echo(json.dumps([{**asdict(state), "liveness": alive} for state, alive in shown]))
        else:
            if watch and sys.stdout.isatty():
                typer.echo("\033[2J\033[H", nl=False)  # an empty screen
            lines = [line for state, alive in shown for line in describe(state, alive)]
            typer.echo("\n".join(lines or [f"No command has used {cache_dir}."]))
        if not watch or not active:
            return
        time.sleep(_LOOK_S)


def describe(state: "CommandState", liveness: str) -> list[str]:
    """A command in a few lines: its counts, running and failed tasks, and its log."""
    from harness.errors import one_line
    from harness.run.progress import duration

    now = time.time()
    counts = dict.fromkeys(("done", "running", "waiting", "failed"), 0)
    for task in state.tasks.values():
        counts[task.state] += 1
    ended = {
        "ended": f"{state.outcome} after {duration(state.updated - state.started)}",
        "died": f"its process {state.pid} died {duration(now - state.updated)} ago or later: run the command again",
        "on another machine": f"on {state.host}, last heard of {duration(now - state.updated)} ago",
        "running": f"running for {duration(now - state.started)}, process {state.pid}",
    }[liveness]
    lines = [f"harness {state.command} --suite {state.suite}: {ended}"]
    if state.tasks:
        numbers = ", ".join(f"{count} {name}" for name, count in counts.items())
        left = "" if state.left_s is None or liveness != "running" else f"; about {duration(state.left_s)} left"
        lines.append(f"  {state.phase}: {numbers}{left}")
    for label, task in state.tasks.items():
        if task.state == "running":
            steps = f", step {task.step:,} of at most {task.steps:,}" if task.steps else ""
            lines.append(f"  running: {label}, for {duration(now - (task.started or now))}{steps}")
        elif task.state == "failed":
            lines.append(f"  failed: {label}: {task.cause}")
    if state.message:
        lines.append(f"  {state.message}")
    return [one_line(line) for line in (*lines, f"  log: {state.log}")]
