"""What `harness doctor` finds, with what to do about it."""

from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.errors import HarnessError
from harness.run import doctor
from harness.run.doctor import Finding, examine
from harness.run.record import CommandRecord

Usage = namedtuple("Usage", "total used free")


def findings(tmp_path: Path) -> dict[str, Finding]:
    return {finding.about: finding for finding in examine(tmp_path / "cache", tmp_path / "data")}


def test_here_nothing_must_be_fixed(tmp_path: Path) -> None:
    found = findings(tmp_path)
    assert found.keys() >= {"Python", "packages", "threads", "GPU", "bfloat16", "memory", "disk", "data", "cache"}
    assert {finding.outcome for finding in found.values()} <= {"ok", "warning"}
    assert all(bool(finding.fix) == (finding.outcome != "ok") for finding in found.values())
    assert not (tmp_path / "cache").exists()


def test_a_package_that_is_missing_or_too_old_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["numpy>=99", "no-such-package>=1", "other>=1; extra == 'dev'"]
    monkeypatch.setattr(doctor, "requires", lambda name: lines)
    wrong = list(doctor._versions())
    assert [finding.outcome for finding in wrong] == ["problem", "problem"]
    assert ">=99 is needed" in wrong[0].text
    assert "no-such-package is not installed" in wrong[1].text


def test_another_python_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "metadata", lambda name: {"Requires-Python": ">=4"})
    assert doctor._python().outcome == "problem"


@pytest.mark.parametrize(("free", "outcome"), [(1e8, "problem"), (3e9, "warning"), (1e11, "ok")])
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, outcome: str) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: Usage(1e12, 1e12 - free, free))
    assert findings(tmp_path)["disk"].outcome == outcome


def test_a_file_in_place_of_the_cache_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    assert doctor._disk(tmp_path / "cache").outcome == "problem"


def test_little_memory_and_too_many_threads_are_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.psutil, "virtual_memory", lambda: SimpleNamespace(available=1e9, total=2e9))
    assert doctor._memory().outcome == "warning"
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    assert doctor._threads().outcome == "warning"


def test_a_clash_of_names_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def clash(group, name, offers):
        if name == "markov":
            raise HarnessError("'markov' is offered by two.", "Uninstall one.")
        return offers[0]

    monkeypatch.setattr(doctor, "single_entry", clash)
    problems = [finding for finding in doctor._plug_ins() if finding.outcome == "problem"]
    assert problems == [Finding("problem", "plug-ins", "'markov' is offered by two.", "Uninstall one.")]


def test_missing_data_and_packages_are_warnings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "not_installed", lambda: {"sasrec": "No recbole.", "gru4rec": "No recbole."})
    (optional,) = doctor._optional()
    assert (optional.outcome, "sasrec, gru4rec" in optional.text) == ("warning", True)
    monkeypatch.setattr(doctor, "dataset_names", lambda: ["steam"])
    assert doctor._data(tmp_path).outcome == "warning"


def test_a_damaged_entry_and_a_command_that_died_are_warnings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "store" / "run" / "key").mkdir(parents=True)
    (cache,) = doctor._cache(tmp_path)
    assert (cache.outcome, "1 damaged entries" in cache.text) == ("warning", True)
    CommandRecord(tmp_path, "run", "toy/v1")
    assert list(doctor._commands(tmp_path)) == []
    monkeypatch.setattr(doctor, "liveness", lambda state: "died")
    (command,) = doctor._commands(tmp_path)
    assert "harness run --suite toy/v1" in command.text
