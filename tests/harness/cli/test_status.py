"""The commands `harness status` and `harness doctor`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli import status as command
from harness.cli.app import app
from harness.run import doctor
from harness.run.doctor import Finding
from harness.run.progress import NO_PROGRESS
from harness.run.record import CommandRecord, recorded


def harness(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.stdout


def test_without_any_command(tmp_path: Path) -> None:
    assert harness("status", "--cache-dir", str(tmp_path)) == (0, f"No command has used {tmp_path}.\n")
    assert json.loads(harness("status", "--cache-dir", str(tmp_path), "--json")[1]) == []


def test_running_commands_are_shown_or_else_the_last_one(tmp_path: Path) -> None:
    with recorded(tmp_path, "tune", "old/v1"):
        pass
    assert "harness tune --suite old/v1: done after 0 s" in harness("status", "--cache-dir", str(tmp_path))[1]
    record = CommandRecord(tmp_path, "run", "new/v1")
    record.watch(NO_PROGRESS).phase("Done", {"a": 1.0})
    shown = harness("status", "--cache-dir", str(tmp_path))[1]
    assert "old/v1" not in shown
    assert "Done: 0 done, 0 running, 1 waiting, 0 failed" in shown
    (state,) = json.loads(harness("status", "--cache-dir", str(tmp_path), "--json")[1])
    assert (state["liveness"], state["tasks"]["a"]["state"]) == ("running", "waiting")


def test_watching_ends_with_the_last_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = CommandRecord(tmp_path, "run", "toy/v1")
    monkeypatch.setattr(command.time, "sleep", lambda seconds: record.end("done"))
    shown = harness("status", "--cache-dir", str(tmp_path), "--watch")[1]
    assert [line.partition(": ")[2].split()[0] for line in shown.splitlines() if "--suite" in line] == [
        "running",
        "done",
    ]


@pytest.mark.parametrize(("outcome", "code"), [("ok", 0), ("warning", 0), ("problem", 1)])
def test_doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome, code: int) -> None:
    finding = Finding(outcome, "disk", "it is full", "" if outcome == "ok" else "Free some space.")
    monkeypatch.setattr(doctor, "examine", lambda cache_dir, data_dir: iter([finding]))
    fix = "" if outcome == "ok" else ". Fix: Free some space."
    assert harness("doctor") == (code, f"{outcome:<8} disk: it is full{fix}\n")
    exit_code, out = harness("doctor", "--json")
    assert (exit_code, json.loads(out)[0]["outcome"]) == (code, outcome)
