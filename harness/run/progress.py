"""Progress bars with time left on a terminal; silence elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from harness.data.raw import Report


class Bars:
    """One bar for a phase, and one below it for each task at work."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._phase = progress.add_task("", total=None)
        self._tasks: dict[str, tuple[TaskID, float]] = {}
        self._finished = 0

    def phase(self, title: str, total: int) -> None:
        """Starts a phase of `total` tasks."""
        self._finished = 0
        self._progress.reset(self._phase, description=title, total=total)

    def step(self, task: str, done: int, total: int) -> None:
        """A task has made `done` of its `total` steps."""
        share = done / max(total, 1)
        if task not in self._tasks:
            self._tasks[task] = (self._progress.add_task(f"  {task}", total=1.0), 0.0)
        bar = self._tasks[task][0]
        self._tasks[task] = (bar, share)
        self._progress.update(bar, completed=share)
        self._refresh()

    def finish(self, task: str) -> None:
        """A task is done."""
        if task in self._tasks:
            self._progress.remove_task(self._tasks.pop(task)[0])
        self._finished += 1
        self._refresh()

    def _refresh(self) -> None:
        partly = sum(share for _, share in self._tasks.values())
        self._progress.update(self._phase, completed=self._finished + partly)


@contextmanager
def bars(console: Console) -> Iterator[Bars]:
    """Bars on the console if it is a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        yield Bars(progress)


@contextmanager
def meter(console: Console) -> Iterator[Report]:
    """One bar on the console, if it is a terminal, for work told as (what, done, total)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task("", total=None)
        shown = ""

        def report(what: str, done: int, total: int | None) -> None:
            nonlocal shown
            if what != shown:
                shown = what
                progress.reset(bar, description=what, total=total)
            progress.update(bar, completed=done, total=total)

        yield report
