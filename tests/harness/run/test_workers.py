"""Workers: a failure affects only its own task, and workers end with their parent."""

import io
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from harness.errors import HarnessError
from harness.run.progress import Lines, duration, show_progress
from harness.run.workers import Failure, InProcess, Task, Workers, report_step, say


def succeed(path: Path) -> None:
    report_step(1, 2)
    say(f"[b]made {path.name}[/b]")
    path.touch()


def raise_value_error() -> None:
    raise ValueError("two\nlines")


def raise_harness_error() -> None:
    raise HarnessError("No such thing.", "Get it.")


def call_exit() -> None:
    sys.exit("done here")


def kill_itself(signal_number: int) -> None:
    os.kill(os.getpid(), signal_number)
    time.sleep(60)


def sleep() -> None:
    time.sleep(60)


def recorded_lines() -> tuple[Lines, io.StringIO]:
    written = io.StringIO()
    return Lines(Console(file=written, markup=False, soft_wrap=True)), written


def test_a_failure_affects_only_its_own_task(tmp_path: Path) -> None:
    failing = [
        raise_value_error,
        raise_harness_error,
        call_exit,
        partial(kill_itself, signal.SIGKILL),
        partial(kill_itself, signal.SIGSEGV),
    ]
    tasks = [Task(f"bad {number}", work) for number, work in enumerate(failing)]
    tasks += [Task(f"good {number}", partial(succeed, tmp_path / f"{number}")) for number in range(4)]
    progress, written = recorded_lines()
    progress.phase("Working", {task.label: task.seconds for task in tasks})
    with Workers(2) as workers:
        failures = workers.carry_out(tasks, progress)
    assert {index: failure.cause for index, failure in failures.items()} == {
        0: "ValueError: two lines",
        1: "No such thing. Get it.",
        2: "SystemExit: done here",
        3: "its worker process was killed by SIGKILL, probably because memory ran out: try fewer --jobs",
        4: "its worker process was killed by SIGSEGV",
    }
    assert "in raise_value_error" in failures[0].details
    assert len(list(tmp_path.iterdir())) == 4
    output = written.getvalue().splitlines()
    assert sum(line.startswith("Working ") for line in output) == 9
    assert sum(" failed after " in line for line in output) == 5
    assert "[b]made 0[/b]" in output


def test_stop_on_error_starts_no_task_after_the_first_failure(tmp_path: Path) -> None:
    tasks = [Task("long", sleep), Task("bad", raise_value_error), Task("good", partial(succeed, tmp_path / "written"))]
    started = time.monotonic()
    with Workers(2) as workers:
        assert list(workers.carry_out(tasks, recorded_lines()[0], stop_on_error=True)) == [1]
    assert time.monotonic() - started < 50
    assert not (tmp_path / "written").exists()


def note(path: Path, name: str) -> None:
    with path.open("a") as file:
        file.write(f"{name}\n")


@pytest.mark.parametrize("workers", [lambda: nullcontext(InProcess()), partial(Workers, 1), partial(Workers, 3)])
def test_a_task_waits_for_those_that_it_needs_and_overtakes_others(tmp_path: Path, workers) -> None:
    path = tmp_path / "journal"
    tasks = [
        Task("last", partial(note, path, "last"), needs=frozenset({2, 3})),
        Task("second", partial(note, path, "second"), needs=frozenset({2})),
        Task("first", partial(note, path, "first")),
        Task("third", raise_value_error, needs=frozenset({1})),
    ]
    over: list[tuple[int, bool]] = []

    def finished(index: int, failure: Failure | None) -> None:
        over.append((index, failure is not None))

    with workers() as carrying:
        assert list(carrying.carry_out(tasks, recorded_lines()[0], finished=finished)) == [3]
    assert path.read_text().split() == ["first", "second", "last"]
    assert over == [(2, False), (1, False), (3, True), (0, False)]


PARENT = """
from harness.run.workers import Task, Workers
from tests.harness.run.test_workers import recorded_lines, sleep
if __name__ == "__main__":
    with Workers(2) as workers:
        workers.carry_out([Task("a", sleep), Task("b", sleep)], recorded_lines()[0])
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_workers_end_with_their_parent(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "parent.py"], env=os.environ | {"PYTHONPATH": str(Path.cwd())}
    )
    deadline = time.monotonic() + 60
    while len(children := psutil.Process(parent.pid).children(recursive=True)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    parent.send_signal(number)
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def test_labels_are_not_rendered_as_markup() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100, highlight=False)
    with show_progress(console) as progress:
        progress.phase("Scoring", {"[/x] on a\nb": 1.0, "c": 1.0})
        progress.start("[/x] on a\nb")
        progress.finish("[/x] on a\nb", failed=True)
    assert "failed: [/x] on a b" in written.getvalue()


def test_lines_show_finished_tasks_long_steps_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress, written = recorded_lines()
    progress.phase("Training", {"LoRA on [comedy]\n": 100.0, "b": 200.0, "c": 100.0})
    progress.start("LoRA on [comedy]\n")
    now[0] = 50.0
    progress.step("LoRA on [comedy]\n", 10, 30)
    now[0] = 90.0
    progress.step("LoRA on [comedy]\n", 15, 30)
    progress.step("LoRA on [comedy]\n", 16, 30)
    progress.finish("LoRA on [comedy]\n")
    progress.start("b")
    now[0] = 200.0
    progress.finish("b", failed=True)
    progress.finish("c", seconds=1)
    assert written.getvalue().splitlines() == [
        "Training 0/3: LoRA on [comedy] : step 15 of at most 30, about 10 min left",
        "Training 1/3: LoRA on [comedy]  in 90 s, about 4 min left",
        "Training 2/3: b failed after 2 min, about 67 s left",
        "Training 3/3: c in 1 s",
    ]
    assert duration(3 * 3600 + 120) == "3 h 2 min"
