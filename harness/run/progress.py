"""How far a command is: bars with the time left on a terminal, a line a finished step elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich import progress as rich
from rich.console import Console

from harness.data.records import ReadProgress
from harness.errors import one_line


class Progress(Protocol):
    """Told of phases, of tasks in them, and of how far each is."""

    def phase(self, title: str, total: int) -> None:
        """Starts a phase of `total` tasks."""
        ...

    def start(self, task: str) -> None:
        """A task is begun."""
        ...

    def step(self, task: str, done: int, total: int) -> None:
        """A task has made `done` of its `total` steps."""
        ...

    def finish(self, task: str, failed: bool = False) -> None:
        """A task is over."""
        ...

    def say(self, line: str) -> None:
        """Something that the user should know."""
        ...


class Bars:
    """One bar for a phase, and one below it for each task at work."""

    def __init__(self, progress: rich.Progress) -> None:
        self._progress = progress
        self._phase = progress.add_task("", total=None)
        self._tasks: dict[str, tuple[rich.TaskID, float]] = {}
        self._finished = 0

    def phase(self, title: str, total: int) -> None:
        """Starts a phase of `total` tasks."""
        self._finished = 0
        self._progress.reset(self._phase, description=title, total=total)

    def start(self, task: str) -> None:
        """A task is begun."""
        self.step(task, 0, 1)

    def step(self, task: str, done: int, total: int) -> None:
        """A task has made `done` of its `total` steps."""
        share = done / max(total, 1)
        if task not in self._tasks:
            self._tasks[task] = (self._progress.add_task(f"  {one_line(task)}", total=1.0), 0.0)
        bar = self._tasks[task][0]
        self._tasks[task] = (bar, share)
        self._progress.update(bar, completed=share)
        self._refresh()

    def finish(self, task: str, failed: bool = False) -> None:
        """A task is over."""
        if task in self._tasks:
            self._progress.remove_task(self._tasks.pop(task)[0])
        if failed:
            self.say(f"failed: {task}")
        self._finished += 1
        self._refresh()

    def say(self, line: str) -> None:
        """Something that the user should know."""
        self._progress.console.print(one_line(line), markup=False)

    def _refresh(self) -> None:
        partly = sum(share for _, share in self._tasks.values())
        self._progress.update(self._phase, completed=self._finished + partly)


class Lines:
    """A line for each finished task, with the time left of the phase."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.phase("", 0)

    def phase(self, title: str, total: int) -> None:
        """Starts a phase of `total` tasks."""
        self._title, self._total, self._finished = title, total, 0
        self._begun = time.monotonic()
        self._starts: dict[str, float] = {}

    def start(self, task: str) -> None:
        """A task is begun."""
        self._starts[task] = time.monotonic()

    def step(self, task: str, done: int, total: int) -> None:
        """Nothing: a step is no line."""

    def finish(self, task: str, failed: bool = False) -> None:
        """A task is over."""
        self._finished += 1
        now = time.monotonic()
        took = duration(now - self._starts.pop(task, self._begun))
        open_tasks = self._total - self._finished
        left = f", about {duration((now - self._begun) / self._finished * open_tasks)} left" if open_tasks else ""
        outcome = "failed after" if failed else "in"
        self.say(f"{self._title} {self._finished}/{self._total}: {task} {outcome} {took}{left}")

    def say(self, line: str) -> None:
        """Something that the user should know."""
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


@contextmanager
def bars(console: Console) -> Iterator[Progress]:
    """Bars on the console if it is a terminal, lines if not."""
    if not console.is_terminal:
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


@contextmanager
def meter(console: Console) -> Iterator[ReadProgress]:
    """One bar on the console, if it is a terminal, for work told as (what, done, total)."""
    columns = (
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(),
        rich.TimeElapsedColumn(),
        rich.TextColumn("left"),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task("", total=None)
        shown = ""

        def report(what: str, done: int, total: int | None) -> None:
            nonlocal shown
            if what != shown:
                shown = what
                progress.reset(bar, description=one_line(what), total=total)
            progress.update(bar, completed=done, total=total)

        yield report
