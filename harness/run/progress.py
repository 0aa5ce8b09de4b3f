"""Progress of a command: bars with the time left on a terminal, a line for each finished task elsewhere."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich import progress as rich
from rich.console import Console

from harness.errors import one_line
from harness.storage.locks import tell_stderr

if TYPE_CHECKING:
    from harness.run.workers import Failure


class Progress(Protocol):
    """Callbacks of a command: phases, tasks in them, steps of a task, and lines for the user."""

    def phase(self, title: str, tasks: Mapping[str, float]) -> None:
        """Start a phase; `tasks` has a guess of each one's seconds, which decides its share of the progress."""
        ...

    def start(self, task: str) -> None:
        """Start a task."""
        ...

    def step(self, task: str, done: int, total: int | None, what: str = "") -> None:
        """A task is at step `done` of `total`; `what` names the part of the task."""
        ...

    def finish(
        self, task: str, failed: bool = False, seconds: float | None = None, failure: "Failure | None" = None
    ) -> None:
        """End a task; `seconds` says how long it took where it was not started here, `failure` why it failed."""
        ...

    def say(self, line: str) -> None:
        """Show the user one line."""
        ...


class _NoProgress:
    """Shows nothing but lines for the user, which go to the standard error."""

    def phase(self, title: str, tasks: Mapping[str, float]) -> None:
        """Do nothing."""

    def start(self, task: str) -> None:
        """Do nothing."""

    def step(self, task: str, done: int, total: int | None, what: str = "") -> None:
        """Do nothing."""

    def finish(
        self, task: str, failed: bool = False, seconds: float | None = None, failure: "Failure | None" = None
    ) -> None:
        """Do nothing."""

    def say(self, line: str) -> None:
        """Print the line."""
        tell_stderr(one_line(line))


NO_PROGRESS = _NoProgress()


class DonePart:
    """What is done of a phase, in the guessed seconds of its tasks."""

    def __init__(self, tasks: Mapping[str, float]) -> None:
        self._tasks, self._shares = tasks, dict[str, float]()
        self.finished = 0

    def step(self, task: str, done: int, total: int | None) -> float:
        """Note that a task is at step `done` of `total`; returns the share."""
        self._shares[task] = done / max(total, 1) if total is not None else 0.0
        return self._shares[task]

    def finish(self, task: str) -> None:
        """Note that a task is over."""
        self._shares[task] = 1.0
        self.finished += 1

    @property
    def seconds(self) -> float:
        """Guessed seconds of all that is done."""
        return sum(self._tasks.get(task, 1.0) * share for task, share in self._shares.items())

    def seconds_left(self, elapsed: float) -> float | None:
        """Guess of the seconds left, after `elapsed` seconds; None if nothing is left or done."""
        done, total = self.seconds, sum(self._tasks.values())
        return elapsed * (total - done) / done if 0 < done < total else None

    def left(self, elapsed: float) -> str:
        """The time left in words, after `elapsed` seconds; empty if nothing is left or done."""
        seconds = self.seconds_left(elapsed)
        return "" if seconds is None else f", about {duration(seconds)} left"


class Bars:
    """One bar for a phase, and one below it for each running task."""

    def __init__(self, progress: rich.Progress) -> None:
        self._progress = progress
        self._phase = progress.add_task("", total=None)
        self._bars: dict[str, rich.TaskID] = {}
        self._done = DonePart({})

    def phase(self, title: str, tasks: Mapping[str, float]) -> None:
        """Start a phase."""
        self._done = DonePart(tasks)
        self._progress.reset(self._phase, description=title, total=sum(tasks.values()))

    def start(self, task: str) -> None:
        """Add a bar for the task."""
        self.step(task, 0, 1)

    def step(self, task: str, done: int, total: int | None, what: str = "") -> None:
        """Move the task's bar; without a total it only shows that the task is running."""
        if task not in self._bars:
            self._bars[task] = self._progress.add_task("", total=1.0)
        share = self._done.step(task, done, total)
        description = f"  {one_line(task)}{': ' if what else ''}{one_line(what)}"
        shown_total = 1.0 if total is not None else None
        self._progress.update(self._bars[task], description=description, completed=share, total=shown_total)
        self._progress.update(self._phase, completed=self._done.seconds)

    def finish(
        self,
        task: str,
        failed: bool = False,
        seconds: float | None = None,  # noqa: ARG002
        failure: "Failure | None" = None,  # noqa: ARG002
    ) -> None:
        """Remove the task's bar."""
        if task in self._bars:
            self._progress.remove_task(self._bars.pop(task))
        if failed:
            self.say(f"failed: {task}")
        self._done.finish(task)
        self._progress.update(self._phase, completed=self._done.seconds)

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(one_line(line), markup=False)


#: Seconds without a line after which a running task's step becomes one.
_SILENCE_S = 60


class Lines:
    """A line for each finished task, and for the steps of long ones, with the time left of the phase."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.phase("", {})

    def phase(self, title: str, tasks: Mapping[str, float]) -> None:
        """Start a phase."""
        self._title, self._total, self._done = title, len(tasks), DonePart(tasks)
        self._phase_started = self._last_line = time.monotonic()
        self._started: dict[str, float] = {}

    def start(self, task: str) -> None:
        """Note when a task started."""
        self._started[task] = time.monotonic()

    def step(self, task: str, done: int, total: int | None, what: str = "") -> None:
        """Print a line if there was none for a minute."""
        self._done.step(task, done, total)
        now = time.monotonic()
        if now - self._last_line < _SILENCE_S:
            return
        steps = f"step {done:,}" + (f" of at most {total:,}" if total is not None else "")
        self._print(f"{task}{', ' if what else ''}{what}: {steps}", now)

    def finish(
        self,
        task: str,
        failed: bool = False,
        seconds: float | None = None,
        failure: "Failure | None" = None,  # noqa: ARG002
    ) -> None:
        """Print a line about the task."""
        self._done.finish(task)
        now = time.monotonic()
        took = duration(now - self._started.pop(task, self._phase_started) if seconds is None else seconds)
        self._print(f"{task} {'failed after' if failed else 'in'} {took}", now)

    def _print(self, line: str, now: float) -> None:
        self._last_line = now
        left = self._done.left(now - self._phase_started)
        self.say(f"{self._title} {self._done.finished}/{self._total}: {line}{left}")

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
