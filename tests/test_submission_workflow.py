"""An outsider's row from a clone that never saw the method: run, submit, and pass the steps of the workflow."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from tests.harness.run.submissions import CARD_TEXT, METHOD, SOURCE, edit_json, edit_table, put, swap

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "submission.yml"
CODE = ("harness", "baselines", "weaverec", "pyproject.toml", ".github")
SCENARIO = "action-from-comedy"
STEM = f"{SCENARIO}/{METHOD}-seed0"
SUBMISSION = Path("leaderboards", "submissions", "cdsr-smoke", "v1", METHOD)


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=tests", "-c", "user.email=tests@example.org", "-c", "protocol.file.allow=always")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def steps() -> list[str]:
    """The commands of the workflow. Installing is left out: the tests' own environment stands for it."""
    (job,) = yaml.safe_load(WORKFLOW.read_text())["jobs"].values()
    install, *commands = [step["run"] for step in job["steps"] if "run" in step]
    assert install == "make install"
    return commands


def run_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `harness` with the code of a clone."""
    environment = os.environ | {"PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "harness.cli", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, check=False)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The project's repository, and an outsider's clone with a submission on a branch of its own."""
    pytest.importorskip("recbole", reason="MovieLens 100K comes in RecBole's wheel")
    folder = tmp_path_factory.mktemp("world")
    base, outsider = folder / "base", folder / "outsider"
    base.mkdir()
    for name in CODE:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, base / name)
    (base / ".gitignore").write_text("__pycache__/\n.venv/\n.harness/\n/changed\n/pull-request/\n")
    git(base, "init", "--quiet", "--initial-branch", "main")
    git(base, "add", ".")
    git(base, "commit", "--quiet", "--message", "All")
    git(folder, "clone", "--quiet", "base", "outsider")
    (outsider / "my_method.py").write_text(SOURCE)
    (outsider / "card.yaml").write_text(CARD_TEXT.replace("[left, right]", "[action, comedy]"))
    made = run_in(outsider, "run", "--suite", "cdsr-smoke", "--method", "./my_method.py:Latest", "--jobs", "0")
    assert made.returncode == 0, made.stderr
    result = f"leaderboards/results/cdsr-smoke/v1/{STEM}.json"
    packed = run_in(outsider, "submit", result, "--card", "card.yaml")
    assert packed.returncode == 0, packed.stderr
    assert str(SUBMISSION) in packed.stdout
    # What `make install` leaves.
    program = base / ".venv" / "bin" / "harness"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{base}" exec "{sys.executable}" -m harness.cli "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return SimpleNamespace(base=base, outsider=outsider)


@pytest.fixture
def pull_request(world: SimpleNamespace) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Open a pull request with the submission, after a change to it, and run the workflow's steps."""

    def run(change: Callable[[Path], object] = lambda clone: None) -> subprocess.CompletedProcess[str]:
        clone = world.base.parent / "branch"
        for folder in (clone, world.base / "pull-request"):
            shutil.rmtree(folder, ignore_errors=True)
        git(world.base.parent, "clone", "--quiet", "base", "branch")
        shutil.copytree(world.outsider / SUBMISSION, clone / SUBMISSION)
        change(clone)
        git(clone, "add", "--force", "leaderboards", "harness")
        git(clone, "commit", "--quiet", "--message", "Submit")
        # As actions/checkout leaves the merge of the pull request.
        git(world.base, "clone", "--quiet", "--no-checkout", ".", "pull-request")
        checkout = world.base / "pull-request"
        git(checkout, "sparse-checkout", "set", "leaderboards/submissions")
        git(checkout, "checkout", "--quiet")
        git(checkout, "pull", "--quiet", "--no-rebase", "--no-ff", "--no-edit", str(clone), "main")
        script = "\n".join(["set -e", *steps()])
        environment = os.environ | {"HARNESS_CACHE": str(world.outsider / ".harness")}
        return subprocess.run(
            ["bash", "-c", script], cwd=world.base, env=environment, text=True, capture_output=True, check=False
        )

    return run


def test_the_workflow_runs_no_code_of_the_pull_request() -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert list(workflow[True]) == ["pull_request_target"]  # YAML 1.1 reads `on` as true
    (job,) = workflow["jobs"].values()
    first, second = [step["with"] for step in job["steps"] if step.get("uses", "").startswith("actions/checkout")]
    assert "ref" not in first
    assert (second["path"], second["sparse-checkout"]) == ("pull-request", "leaderboards/submissions")
    assert not first["persist-credentials"]
    assert not second["persist-credentials"]
    assert not any("${{" in command or "pull-request/" in command for command in steps())


def test_an_outsider_s_submission_passes_the_workflow_and_a_tampered_one_does_not(pull_request) -> None:
    passed = pull_request()
    assert passed.returncode == 0, passed.stderr
    assert f"{METHOD} on cdsr-smoke/v1, 1 results with" in passed.stdout
    assert "users, test items and slices are those of the data" in passed.stdout
    refused = pull_request(lambda clone: edit_table(f"{STEM}.parquet", put("full/above", 4, 0))(clone / SUBMISSION))
    lines = [line for line in refused.stderr.splitlines() if line.startswith("harness: ")]
    assert (refused.returncode, len(lines)) == (2, 1)
    assert f"{STEM}.lists.parquet, row 5: the held-out item is" in lines[0]


def copied(name: str) -> Callable[[Path], object]:
    """A second submission of the same results under another name of its folder."""
    return lambda clone: shutil.copytree(clone / SUBMISSION, clone / SUBMISSION.with_name(name))


def other_version(folder: Path) -> None:
    edit_json("submission.json", lambda manifest: manifest.update(suite_version=2))(folder)
    shutil.move(folder, folder.parents[1] / "v2" / METHOD)


TAMPERED = {
    "metric": (
        edit_json(f"{STEM}.json", lambda r: r["candidates"]["full"]["metrics"]["all"].update({"hr@10": 1.0})),
        "hr@10: 1.0 instead of",
    ),
    "rank": (edit_table(f"{STEM}.parquet", lambda f: swap(f, 1, 2)), "row"),
    "user": (
        edit_table(f"{SCENARIO}/users.parquet", lambda f: swap(f, 1, 2, ["user_id"])),
        "users.parquet, row 2: user",
    ),
    "version": (other_version, "suite_version: 2, but the newest is 1"),
    "suite": (
        edit_json("submission.json", lambda m: m.update(suite_fingerprint="0" * 64)),
        "suite_fingerprint: not that",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TAMPERED)
def test_tampered_submissions_fail_the_workflow(pull_request, name: str) -> None:
    spoil, message = TAMPERED[name]
    refused = pull_request(lambda clone: spoil(clone / SUBMISSION))
    assert (refused.returncode, message in refused.stderr) == (2, True), refused.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (copied(METHOD.upper()), "it is of my_method.Latest on cdsr-smoke/v1, but in the folder"),
        (
            lambda clone: (clone / "harness" / "errors.py").write_text("raise SystemExit(0)"),
            "errors.py: not in the folder",
        ),
    ],
)
def test_duplicates_and_code_fail_the_workflow(pull_request, change, message: str) -> None:
    refused = pull_request(change)
    assert (refused.returncode, message in refused.stderr) == (2, True), refused.stderr


def test_the_files_say_what_they_were_made_with(world: SimpleNamespace) -> None:
    manifest = json.loads((world.outsider / SUBMISSION / "submission.json").read_text())
    (environment,) = manifest["environments"]
    assert environment["packages"].keys() >= {"numpy", "torch"}
    assert environment["hardware"].keys() >= {"cpu", "python"}
    assert manifest["method"] == METHOD
