"""Progress of a command: bars with the time left on a terminal, a line for each finished task elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich import progress as rich
from rich.console import Console

from harness.errors import one_line
from harness.storage.locks import tell_stderr


class Progress(Protocol):
    """Callbacks of a command: phases, tasks in them, steps of a task, and lines for the user."""

    def phase(self, title: str, total: int) -> None:
        """Start a phase of `total` tasks."""
        ...

    def start(self, task: str) -> None:
        """Start a task."""
        ...

    def step(self, task: str, done: int, total: int | None, what: str = "") -> None:
        """A task is at step `done` of `total`; `what` names the part of the task."""
        ...

    def finish(self, task: str, failed: bool = False, seconds: float | None = None) -> None:
        """End a task; `seconds` says how long it took where it was not started here."""
        ...

    def say(self, line: str) -> None:
        """Show the user one line."""
        ...


class _NoProgress:
    """Shows nothing but lines for the user, which go to the standard error."""

    def phase(self, title: str, total: int) -> None:
        """Do nothing."""

    def start(self, task: str) -> None:
        """Do nothing."""

    def step(self, task: str, done: int, total: int | None, what: str = "") -> None:
        """Do nothing."""

    def finish(self, task: str, failed: bool = False, seconds: float | None = None) -> None:
        """Do nothing."""

    def say(self, line: str) -> None:
        """Print the line."""
        tell_stderr(one_line(line))


NO_PROGRESS = _NoProgress()


class Bars:
    """One bar for a phase, and one below it for each running task."""

    def __init__(self, progress: rich.Progress) -> None:
        self._progress = progress
        self._phase = progress.add_task("", total=None)
        self._tasks: dict[str, tuple[rich.TaskID, float]] = {}
        self._finished = 0

    def phase(self, title: str, total: int) -> None:
        """Start a phase of `total` tasks."""
        self._finished = 0
        self._progress.reset(self._phase, description=title, total=total)

    def start(self, task: str) -> None:
        """Add a bar for the task."""
        self.step(task, 0, 1)

    def step(self, task: str, done: int, total: int | None, what: str = "") -> None:
        """Move the task's bar; without a total it only shows that the task is running."""
        share = done / max(total, 1) if total is not None else 0.0
        if task not in self._tasks:
            self._tasks[task] = (self._progress.add_task("", total=1.0), 0.0)
        bar = self._tasks[task][0]
        self._tasks[task] = (bar, share)
        description = f"  {one_line(task)}{': ' if what else ''}{one_line(what)}"
        self._progress.update(bar, description=description, completed=share, total=1.0 if total is not None else None)
        self._refresh()

    def finish(self, task: str, failed: bool = False, seconds: float | None = None) -> None:  # noqa: ARG002
        """Remove the task's bar."""
        if task in self._tasks:
            self._progress.remove_task(self._tasks.pop(task)[0])
        if failed:
            self.say(f"failed: {task}")
        self._finished += 1
        self._refresh()

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(one_line(line), markup=False)

    def _refresh(self) -> None:
        running = sum(share for _, share in self._tasks.values())
        self._progress.update(self._phase, completed=self._finished + running)


class Lines:
    """A line for each finished task, with the time left of the phase."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.phase("", 0)

    def phase(self, title: str, total: int) -> None:
        """Start a phase of `total` tasks."""
        self._title, self._total, self._finished = title, total, 0
        self._phase_started = time.monotonic()
        self._started: dict[str, float] = {}

    def start(self, task: str) -> None:
        """Note when a task started."""
        self._started[task] = time.monotonic()

    def step(self, task: str, done: int, total: int | None, what: str = "") -> None:
        """Do nothing: a step is no line."""

    def finish(self, task: str, failed: bool = False, seconds: float | None = None) -> None:
        """Print a line about the task."""
        self._finished += 1
        now = time.monotonic()
        took = duration(now - self._started.pop(task, self._phase_started) if seconds is None else seconds)
        waiting = self._total - self._finished
        left = f", about {duration((now - self._phase_started) / self._finished * waiting)} left" if waiting else ""
        outcome = "failed after" if failed else "in"
        self.say(f"{self._title} {self._finished}/{self._total}: {task} {outcome} {took}{left}")

    def say(self, line: str) -> None:
        """Print a line."""
        self._console.print(one_line(line), markup=False)


def duration(seconds: float) -> str:
    """A time for people.

    >>> duration(7.2), duration(200), duration(4000)
    ('7 s', '3 min', '1 h 7 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def make_console(stderr: bool) -> Console:
    """A console that prints names, titles and folders as they are, without reading markup into them."""
    return Console(stderr=stderr, soft_wrap=True, highlight=False, markup=False, emoji=False)


@contextmanager
def show_progress(console: Console) -> Iterator[Progress]:
    """Bars on a terminal or in a notebook, lines elsewhere."""
    if not (console.is_terminal or console.is_jupyter):
        yield Lines(console)
        return
    columns = (
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(),
        rich.TextColumn("{task.percentage:>3.0f}%"),
        rich.TimeElapsedColumn(),
        rich.TextColumn("left"),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=console, transient=True) as progress:
        yield Bars(progress)
