"""The record of a running command: a state file that other processes read, and a log."""

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil

from harness.errors import HarnessError, one_line
from harness.run.progress import DonePart, Progress, duration
from harness.storage.files import write_atomically

if TYPE_CHECKING:
    from harness.run.workers import Failure

#: Folder of the records in a cache, and how many of ended commands are kept.
FOLDER, _KEPT = "commands", 20
#: Least seconds between two writes of a state that only steps have changed, and between two lines of a task's steps.
_STATE_S, _STEPS_S = 2.0, 60.0

TaskState = Literal["waiting", "running", "done", "failed"]


@dataclass
class TaskRecord:
    """A task of the command's phase.

    Attributes:
        state: what it is doing.
        step: last reported step.
        steps: of at most so many; None if that is not known.
        started: Unix seconds; None while it waits.
        cause: why it failed.
    """

    state: TaskState = "waiting"
    step: int = 0
    steps: int | None = None
    started: float | None = None
    cause: str = ""


@dataclass
class CommandState:
    """What a command is doing. Times are Unix seconds.

    Attributes:
        command: `run` or `tune`.
        suite: such as `cdsr/v2`.
        pid: its process.
        process_started: when the process started, which tells it from a later one with its number.
        host: name of the machine.
        started: when the command started.
        updated: when this was written.
        log: path of the log.
        phase: what it does with the tasks.
        tasks: of the phase, by label.
        left_s: guess of the seconds left in the phase; None while there is none.
        outcome: how it ended: `done`, `failed` if a task failed, or `stopped`; None if it has not.
        message: why it stopped.
    """

    command: str
    suite: str
    pid: int
    process_started: float
    host: str
    started: float
    updated: float
    log: str
    phase: str = ""
    tasks: dict[str, TaskRecord] = field(default_factory=dict)
    left_s: float | None = None
    outcome: Literal["done", "failed", "stopped"] | None = None
    message: str = ""


class CommandRecord:
    """Writes the state and the log of this process's command.

    Attributes:
        log: path of the log.
    """

    def __init__(self, cache_dir: Path, command: str, suite: str) -> None:
        now, pid = time.time(), os.getpid()
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%S")
        folder = (cache_dir / FOLDER).resolve()
        self._path = folder / f"{stamp}-{pid}.json"
        self.log = self._path.with_suffix(".log")
        started = psutil.Process().create_time()
        self._state = CommandState(command, suite, pid, started, socket.gethostname(), now, now, str(self.log))
        self._written = 0.0
        write_atomically(self.log, "")
        self.write(f"harness {command} --suite {suite}, process {pid}")
        self._save()

    @property
    def has_failures(self) -> bool:
        """Whether a task of the phase failed."""
        return any(task.state == "failed" for task in self._state.tasks.values())

    def write(self, line: str) -> None:
        """Add a line, or a traceback, to the log."""
        with suppress(OSError), self.log.open("a", encoding="utf-8") as file:  # a full disk must not stop the command
            file.write(f"{datetime.now(UTC).strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    def watch(self, progress: Progress) -> Progress:
        """The same progress, recorded."""
        return _Recorded(progress, self)

    def update(self, phase: str, tasks: dict[str, TaskRecord], left_s: float | None, now: bool) -> None:
        """Note what the command does; `now` writes it at once."""
        self._state.phase, self._state.tasks, self._state.left_s = phase, tasks, left_s
        if now or time.monotonic() - self._written > _STATE_S:
            self._save()

    def end(self, outcome: Literal["done", "failed", "stopped"], message: str = "") -> None:
        """Note that the command has ended."""
        failed = self.has_failures
        if outcome == "done":
            for task in self._state.tasks.values():  # such as domains that were prepared before
                task.state = "failed" if task.state == "failed" else "done"
        self._state.outcome = "failed" if failed and outcome == "done" else outcome
        self._state.message = message
        self.write(f"{self._state.outcome} after {duration(time.time() - self._state.started)}. {message}".rstrip())
        self._save()

    def _save(self) -> None:
        self._state.updated, self._written = time.time(), time.monotonic()
        with suppress(HarnessError):  # a full disk stops the command where it needs the space
            write_atomically(self._path, json.dumps(asdict(self._state)))


@contextmanager
def recorded(cache_dir: Path, command: str, suite: str) -> Iterator[CommandRecord]:
    """Record a command while the block runs; an error after a failed task names the log.

    Raises:
        HarnessError: the cache cannot be written to.
    """
    _remove_old(cache_dir / FOLDER)
    record = CommandRecord(cache_dir, command, suite)
    try:
        yield record
    except BaseException as error:
        record.end("stopped", one_line(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__))
        if isinstance(error, HarnessError) and record.has_failures:
            error.hint = f"{error.hint} Log: {record.log}."
        raise
    record.end("done")


class _Recorded:
    """Progress that is shown and recorded."""

    def __init__(self, shown: Progress, record: CommandRecord) -> None:
        self._shown, self._record = shown, record
        self._title, self._tasks, self._done = "", dict[str, TaskRecord](), DonePart({})
        self._started = self._told = time.monotonic()

    def phase(self, title: str, tasks: Mapping[str, float]) -> None:
        """Start a phase."""
        self._shown.phase(title, tasks)
        self._title, self._done, self._started = title, DonePart(tasks), time.monotonic()
        self._tasks = {task: TaskRecord() for task in tasks}
        self._record.write(f"{title}: {len(tasks)} tasks")
        self._update(now=True)

    def start(self, task: str) -> None:
        """Start a task."""
        self._shown.start(task)
        record = self._tasks.setdefault(task, TaskRecord())
        record.state, record.started = "running", time.time()
        self._record.write(f"started: {task}")
        self._update(now=True)

    def step(self, task: str, done: int, total: int | None, what: str = "") -> None:
        """Note a step."""
        self._shown.step(task, done, total, what)
        record = self._tasks.setdefault(task, TaskRecord())
        if record.state == "waiting":
            record.started = time.time()
        record.state, record.step, record.steps = "running", done, total
        self._done.step(task, done, total)
        if time.monotonic() - self._told > _STEPS_S:
            self._told = time.monotonic()
            self._record.write(f"{task}{', ' if what else ''}{what}: step {done} of at most {total or 'unknown'}")
        self._update(now=False)

    def finish(
        self, task: str, failed: bool = False, seconds: float | None = None, failure: "Failure | None" = None
    ) -> None:
        """End a task."""
        self._shown.finish(task, failed, seconds, failure)
        self._done.finish(task)
        record = self._tasks.setdefault(task, TaskRecord())
        record.state, record.cause = ("failed" if failed else "done"), failure.cause if failure else ""
        self._record.write(f"{record.state}: {task}{': ' if record.cause else ''}{record.cause}")
        if failure and failure.details:
            self._record.write(failure.details)
        self._update(now=True)

    def say(self, line: str) -> None:
        """Show and log a line."""
        self._shown.say(line)
        self._record.write(one_line(line))

    def _update(self, now: bool) -> None:
        left = self._done.seconds_left(time.monotonic() - self._started)
        self._record.update(self._title, self._tasks, left, now)


def read_states(cache_dir: Path) -> list[CommandState]:
    """The states of the commands that used a cache lately, the newest first; unreadable files are left out."""
    states = []
    for path in sorted((cache_dir / FOLDER).glob("*.json"), reverse=True):
        with suppress(OSError, ValueError, TypeError, AttributeError):
            raw = json.loads(path.read_text(encoding="utf-8"))
            tasks = {label: TaskRecord(**task) for label, task in raw.pop("tasks").items()}
            states.append(CommandState(**raw, tasks=tasks))
    return states


def liveness(state: CommandState) -> Literal["ended", "running", "died", "on another machine"]:
    """Whether a command is still at work, by its process."""
    if state.outcome is not None:
        return "ended"
    if state.host != socket.gethostname():
        return "on another machine"
    try:
        process = psutil.Process(state.pid)
        same = abs(process.create_time() - state.process_started) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        same = False
    return "running" if same else "died"


def _remove_old(folder: Path) -> None:
    """Remove the records of all but the newest commands that have ended."""
    ended = [state for state in read_states(folder.parent) if liveness(state) in ("ended", "died")]
    for state in ended[_KEPT:]:
        log = Path(state.log)
        for path in (folder / log.name, (folder / log.name).with_suffix(".json")):
            path.unlink(missing_ok=True)
