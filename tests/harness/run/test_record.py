"""What other processes see of a running command, and its log."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.cli.status import describe
from harness.errors import HarnessError
from harness.run import record as records
from harness.run.progress import NO_PROGRESS
from harness.run.record import FOLDER, CommandRecord, liveness, read_states, recorded
from harness.run.workers import Failure


def the_state(cache: Path):
    (state,) = read_states(cache)
    return state, liveness(state)


def test_a_running_command_is_seen_task_by_task(tmp_path: Path) -> None:
    with recorded(tmp_path, "run", "toy/v1") as record:
        progress = record.watch(NO_PROGRESS)
        progress.phase("Done", {"training a": 1.0, "scoring a": 1.0, "scoring b": 2.0})
        progress.start("training a")
        progress.finish("training a")
        progress.start("scoring a")
        progress.finish("scoring a", failed=True, failure=Failure("ValueError: no", "Traceback: here"))
        progress.start("scoring b")
        state, alive = the_state(tmp_path)
        assert alive == "running"
        assert {label: task.state for label, task in state.tasks.items()} == {
            "training a": "done",
            "scoring a": "failed",
            "scoring b": "running",
        }
        shown = "\n".join(describe(state, alive))
        assert f"harness run --suite toy/v1: running for 0 s, process {os.getpid()}" in shown
        assert "Done: 1 done, 1 running, 0 waiting, 1 failed; about 0 s left" in shown
        assert "failed: scoring a: ValueError: no" in shown
        progress.finish("scoring b")
    state, alive = the_state(tmp_path)
    assert (alive, state.outcome) == ("ended", "failed")
    log = Path(state.log).read_text()
    assert "failed: scoring a: ValueError: no" in log
    assert "Traceback: here" in log
    assert f"log: {state.log}" in describe(state, alive)[-1]


def test_the_time_left_is_that_of_the_tasks_that_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(records.time, "monotonic", lambda: now[0])
    progress = CommandRecord(tmp_path, "run", "toy/v1").watch(NO_PROGRESS)
    progress.phase("Done", {"short": 10.0, "long": 30.0})
    progress.start("short")
    now[0] += 20
    progress.finish("short")
    assert the_state(tmp_path)[0].left_s == pytest.approx(60)


def test_steps_are_not_written_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    progress = CommandRecord(tmp_path, "run", "toy/v1").watch(NO_PROGRESS)
    progress.phase("Done", {"a": 1.0})
    progress.start("a")
    written = []
    monkeypatch.setattr(records, "write_atomically", lambda path, text: written.append(text))
    for step in range(1000):
        progress.step("a", step, 1000)
    assert len(written) < 50


@pytest.mark.parametrize("failed", [False, True])
def test_an_error_stops_the_record_and_names_the_log_if_a_task_failed(tmp_path: Path, failed: bool) -> None:
    def stops() -> None:
        with recorded(tmp_path, "tune", "toy/v1") as record:
            record.watch(NO_PROGRESS).finish("a", failed=failed)
            raise HarnessError("It failed.", "Mend it.")

    with pytest.raises(HarnessError) as error:
        stops()
    state, alive = the_state(tmp_path)
    assert (alive, state.outcome) == ("ended", "stopped")
    assert "It failed." in state.message
    assert error.value.hint == "Mend it." + f" Log: {state.log}." * failed


def test_a_killed_command_is_told_from_a_running_one(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from harness.run.record import CommandRecord; "
        "CommandRecord(Path(sys.argv[1]), 'run', 'toy/v1'); print('ready', flush=True); time.sleep(300)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert the_state(tmp_path)[1] == "running"
        process.send_signal(signal.SIGKILL)
        process.wait()
    state, alive = the_state(tmp_path)
    assert alive == "died"
    assert f"process {process.pid} died" in describe(state, alive)[0]


def test_a_later_process_with_the_same_number_is_another(tmp_path: Path) -> None:
    CommandRecord(tmp_path, "run", "toy/v1")
    (path,) = (tmp_path / FOLDER).glob("*.json")
    state = json.loads(path.read_text())
    path.write_text(json.dumps({**state, "process_started": state["process_started"] - 100}))
    assert the_state(tmp_path)[1] == "died"
    path.write_text(json.dumps({**state, "host": "elsewhere"}))
    assert the_state(tmp_path)[1] == "on another machine"
    path.write_text("{")
    assert read_states(tmp_path) == []


def test_records_of_old_commands_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_KEPT", 3)
    start = time.time()
    for number in range(6):
        monkeypatch.setattr(records.time, "time", lambda number=number: start + number)
        with recorded(tmp_path, "run", f"toy/v{number}"):
            pass
    assert [state.suite for state in read_states(tmp_path)] == ["toy/v5", "toy/v4", "toy/v3", "toy/v2"]
    assert len(list((tmp_path / FOLDER).iterdir())) == 8


def test_a_run_leaves_a_record_and_a_dry_run_none(toy) -> None:
    toy.run("popularity", seeds=(0,), dry_run=True)
    assert read_states(toy.cache) == []
    done = toy.run("popularity", seeds=(0,))
    state, alive = the_state(toy.cache)
    assert (alive, state.outcome, state.phase, Path(state.log)) == ("ended", "done", "Done", done.log)
    assert {task.state for task in state.tasks.values()} == {"done"}
    assert "done: scoring popularity on left-from-right, seed 0" in done.log.read_text()
