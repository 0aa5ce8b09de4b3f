"""Workers: what one of them meets concerns its own task alone, and all of them end with their parent."""

import io
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from harness.errors import HarnessError
from harness.run.progress import Lines, bars, duration
from harness.run.workers import Task, Workers, report_step, say


def succeeds(path: Path) -> None:
    report_step(1, 2)
    say(f"[b]made {path.name}[/b]")
    path.touch()


def raises() -> None:
    raise ValueError("two\nlines")


def refuses() -> None:
    raise HarnessError("No such thing.", "Get it.")


def exits() -> None:
    sys.exit("done here")


def dies(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


def sleeps() -> None:
    time.sleep(60)


def lines() -> tuple[Lines, io.StringIO]:
    written = io.StringIO()
    return Lines(Console(file=written, markup=False, soft_wrap=True)), written


def test_one_that_fails_in_whatever_way_costs_its_own_task_alone(tmp_path: Path) -> None:
    bad = [raises, refuses, exits, partial(dies, signal.SIGKILL), partial(dies, signal.SIGSEGV)]
    tasks = [Task(f"bad {number}", work) for number, work in enumerate(bad)]
    tasks += [Task(f"good {number}", partial(succeeds, tmp_path / f"{number}")) for number in range(4)]
    progress, written = lines()
    progress.phase("Working", len(tasks))
    with Workers(2) as workers:
        failures = workers.carry_out(tasks, progress)
    assert {index: failure.cause for index, failure in failures.items()} == {
        0: "ValueError: two lines",
        1: "No such thing. Get it.",
        2: "SystemExit: done here",
        3: "its worker process was killed by SIGKILL, probably because memory ran out: try fewer --jobs",
        4: "its worker process was killed by SIGSEGV",
    }
    assert "in raises" in failures[0].details
    assert len(list(tmp_path.iterdir())) == 4
    told = written.getvalue().splitlines()
    assert sum(line.startswith("Working ") for line in told) == 9
    assert sum(" failed after " in line for line in told) == 5
    assert "[b]made 0[/b]" in told


def test_after_the_first_failure_nothing_else_starts_where_that_is_asked_for(tmp_path: Path) -> None:
    tasks = [Task("long", sleeps), Task("bad", raises), Task("good", partial(succeeds, tmp_path / "made"))]
    started = time.monotonic()
    with Workers(2) as workers:
        assert list(workers.carry_out(tasks, lines()[0], stop_on_error=True)) == [1]
    assert time.monotonic() - started < 50
    assert not (tmp_path / "made").exists()


PARENT = """
from harness.run.workers import Task, Workers
from tests.harness.run.test_workers import lines, sleeps
if __name__ == "__main__":
    with Workers(2) as workers:
        workers.carry_out([Task("a", sleeps), Task("b", sleeps)], lines()[0])
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


def test_names_are_no_markup_on_a_terminal() -> None:
    written = io.StringIO()
    with bars(Console(file=written, force_terminal=True, width=100, highlight=False)) as shown:
        shown.phase("Scoring", 2)
        shown.start("[/x] on a\nb")
        shown.finish("[/x] on a\nb", failed=True)
    assert "failed: [/x] on a b" in written.getvalue()


def test_a_line_a_finished_step_with_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress, written = lines()
    progress.phase("Training", 4)
    progress.start("LoRA on [comedy]\n")
    progress.step("LoRA on [comedy]\n", 1, 3)
    now[0] = 90.0
    progress.finish("LoRA on [comedy]\n")
    progress.start("b")
    now[0] = 200.0
    progress.finish("b", failed=True)
    assert written.getvalue().splitlines() == [
        "Training 1/4: LoRA on [comedy]  in 90 s, about 4 min left",
        "Training 2/4: b failed after 2 min, about 3 min left",
    ]
    assert duration(3 * 3600 + 120) == "3 h 2 min"
