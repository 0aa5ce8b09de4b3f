"""Locks are exclusive, and a waiting process names the one it waits for."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.storage.locks import locked, locked_if_free, remove_stale_locks

HOLDS = """
import sys
from pathlib import Path
from harness.storage.locks import locked
with locked(Path(sys.argv[1]), "training [LoRA]"):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(path: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_waits_and_names_the_first(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "a.lock"
    process = holder(path)
    with locked_if_free(path) as locked_here:
        assert not locked_here
    messages: list[str] = []

    def tell(line: str) -> None:
        messages.append(line)
        process.stdin.close()  # this process waits now, so the other one may end

    with locked(path, "waiting", tell):
        assert process.wait(timeout=60) == 0
        assert path.exists()
    assert messages == [f"Waiting for process {process.pid}, which is training [LoRA]."]
    assert not path.exists()


def test_locks_of_killed_processes_are_free(tmp_path: Path) -> None:
    process, live = holder(tmp_path / "a.lock"), holder(tmp_path / "b.lock")
    process.kill()
    process.wait()
    assert (tmp_path / "a.lock").exists()
    remove_stale_locks(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["b.lock"]
    with locked(tmp_path / "a.lock", "mine", pytest.fail):
        pass
    live.stdin.close()
    live.wait()


def test_threads_take_turns(tmp_path: Path) -> None:
    inside: list[int] = []

    def work() -> None:
        for _ in range(20):
            with locked(tmp_path / "a.lock", "working", lambda _: None):
                inside.append(1)
                assert len(inside) == 1
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inside == []
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_locked_raises(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HarnessError, match=r"Cannot lock .*--cache-dir"), locked(tmp_path / "file" / "a.lock", "x"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
