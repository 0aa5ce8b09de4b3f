"""`harness new` writes packages that work: each one's test passes, and its method passes all checks."""

import os
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.methods.registry import ENTRY_POINTS
from harness.methods.scaffold import KINDS, write_package
from tests.extending.commands import ROOT, harness


def test_the_tests_of_new_packages_pass(tmp_path: Path) -> None:
    folders = [write_package(kind, f"new-{kind}", tmp_path) for kind in KINDS]
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, folders)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout
    assert "4 passed" in tested.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_the_entry_points_of_a_new_package_are_there(kind: str, tmp_path: Path, monkeypatch) -> None:
    folder = write_package(kind, f"fresh-{kind}", tmp_path)
    assert not any("$" in path.read_text() for path in folder.glob("*.*"))
    assert len((folder / "README.md").read_text().splitlines()) <= 10
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == folder.name
    monkeypatch.syspath_prepend(str(folder))
    assert list(project["entry-points"]) == list(KINDS[kind].groups)
    for group, entries in project["entry-points"].items():
        assert EntryPoint(folder.name, entries[folder.name], group).load() is not None


def test_a_new_method_passes_all_checks_on_the_command_line(tmp_path: Path) -> None:
    assert list(KINDS["method"].groups) == [ENTRY_POINTS]
    made = harness(tmp_path, "new", "method", "my-method")
    assert made.returncode == 0, made.stderr
    assert "my-method/my_method.py" in made.stdout
    checked = harness(tmp_path, "check-method", "my-method/my_method.py:MyMethod", "--device", "cpu")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "failed" not in checked.stdout
    again = harness(tmp_path, "new", "method", "my-method")
    assert (again.returncode, again.stderr) == (2, "harness: my-method exists. Choose another name, or remove it.\n")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("My-Method", "is no name of a package"),
        ("../x", "is no name of a package"),
        ("class", "is no name of a package"),
        ("markov", "is the name of an installed method"),
        ("numpy", "is the name of a module that is installed"),
    ],
)
def test_names_that_cannot_be_used_are_refused(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=message):
        write_package("method", name, tmp_path)
    assert list(tmp_path.iterdir()) == []
