"""`make` takes the newest Python that works, says what it looked for, and makes an environment of another one anew."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.data.sources.movielens import INSTALL_RECBOLE

ROOT = Path(__file__).parents[1]
LOOKED_FOR = "python3.13 python3.12 python3.11 python3.14"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder of its own with the Makefile and what it depends on."""
    folder = tmp_path / "a clone"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


def make(clone: Path, *arguments: str, pythons: dict[str, str | None]) -> "subprocess.CompletedProcess[str]":
    """Runs make where there are only these Pythons: names, and the versions they say; None for one that fails."""
    path = clone / "bin"
    path.mkdir(exist_ok=True)
    for tool in ("sh", "cat", "printf", "rm"):
        if not (path / tool).exists():
            (path / tool).symlink_to(shutil.which(tool) or "")
    for name, version in pythons.items():
        executable(path / name, version)
    command = [shutil.which("make") or "make", *arguments]
    # A make that runs these tests hands its own flags and variables on.
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON")}
    return subprocess.run(
        command, cwd=clone, env={**environment, "PATH": str(path)}, text=True, capture_output=True, timeout=60
    )


def executable(path: Path, version: str | None) -> None:
    path.write_text("#!/bin/sh\n" + ("exit 1" if version is None else f"printf '{version}'") + "\n")
    path.chmod(0o755)


def environment_of(clone: Path, made_by: str, works: bool) -> None:
    (clone / ".venv" / "bin").mkdir(parents=True)
    executable(clone / ".venv" / "bin" / "python", "" if works else None)
    (clone / ".venv" / ".installed").write_text(made_by + "\n")


@pytest.mark.parametrize(
    ("pythons", "chosen"),
    [
        ({"python3.11": "3.11", "python3.12": "3.12", "python3.13": "3.13"}, "python3.13"),
        ({"python3.11": "3.11", "python3.12": "3.12"}, "python3.12"),
        ({"python3.11": "3.11", "python3.10": "3.10", "python3": "3.10"}, "python3.11"),
        ({"python3.11": "3.11", "python3.13": None, "python3.12": None}, "python3.11"),
        ({"python3.14": "3.14"}, "python3.14"),
        ({"python3.14": "3.14", "python3.11": "3.11"}, "python3.11"),
    ],
)
@pytest.mark.parametrize("target", ["run", "test"])
def test_the_first_python_that_works_is_taken(clone: Path, target: str, pythons, chosen: str) -> None:
    done = make(clone, "-n", target, pythons=pythons)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"\n{chosen} -m venv --clear .venv\n" in done.stdout


@pytest.mark.parametrize("pythons", [{}, {"python3.10": "3.10", "python3": "3.9"}, {"python3.13": None}])
def test_without_any_it_says_what_it_looked_for(clone: Path, pythons) -> None:
    done = make(clone, "test", pythons=pythons)
    assert done.returncode == 2
    assert f"looked for {LOOKED_FOR}." in done.stderr
    assert "PYTHON=/path/to/python" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (clone / ".venv").exists()


def test_python_can_be_named(clone: Path) -> None:
    pythons = {"python3.13": "3.13", "mine": "3.12"}
    done = make(clone, "-n", "test", "PYTHON=mine", pythons=pythons)
    assert "\nmine -m venv --clear .venv\n" in done.stdout
    done = make(clone, "test", "PYTHON=yours", pythons=pythons)
    assert (done.returncode, "looked for yours." in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("made_by", "works", "anew"),
    [
        ("3.13 {clone}", True, False),
        ("3.11 {clone}", True, True),  # another Python
        ("3.13 {clone}", False, True),  # its Python is gone
        ("3.13 /elsewhere", True, True),  # its scripts name another folder
        ("", True, True),  # made by an older Makefile, or not to the end
    ],
)
def test_an_environment_that_does_not_fit_is_made_anew(clone: Path, made_by: str, works: bool, anew: bool) -> None:
    environment_of(clone, made_by.format(clone=clone), works)
    done = make(clone, "-n", "test", pythons={"python3.13": "3.13"})
    assert (done.returncode, "--clear" in done.stdout, " pip install " in done.stdout) == (0, anew, anew)


def test_other_dependencies_are_installed_into_the_environment_that_is_there(clone: Path) -> None:
    environment_of(clone, f"3.13 {clone}", works=True)
    later = (clone / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(clone / "constraints.txt", (later, later))
    done = make(clone, "-n", "test", pythons={"python3.13": "3.13"})
    assert ("--clear" in done.stdout, " pip install " in done.stdout) == (False, True)


def test_nothing_is_needed_to_clean(clone: Path) -> None:
    environment_of(clone, "", works=False)
    assert make(clone, "clean", pythons={}).returncode == 0
    assert not (clone / ".venv").exists()


def test_one_command_brings_recbole() -> None:
    """The Makefile's, the one that errors show, and the one in the project's metadata."""
    packages = INSTALL_RECBOLE.removeprefix("pip install ")
    assert f"$(PIP) {packages}\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert INSTALL_RECBOLE in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_every_supported_python_is_looked_for() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    least, below = map(int, re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', project).groups())
    assert {f"python3.{minor}" for minor in range(least, below)} == set(LOOKED_FOR.split())
