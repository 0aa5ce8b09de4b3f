"""Failed runs leave only their own cells empty; the next command runs them again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugin import Shop


def harness(shop: Shop, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "harness.cli", *arguments]
    return subprocess.run(
        command, cwd=shop.folder, env=shop.environment | environment, text=True, capture_output=True, timeout=300
    )


def test_failures_are_reported_and_retried_and_other_runs_are_published(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "quick-a", "raises", "nan", "dies", "doomed")
    out = tmp_path / "boards [/x]"
    shop.environment["HARNESS_OUTPUT"] = str(out)
    result = harness(shop, *shop.arguments, "--seed", "0")
    assert result.returncode == 1, result.stderr
    assert "small/v1: small [bold]suite[/bold]\n" in result.stdout
    assert f"Leaderboard: {out / 'small-v1.md'}\n" in result.stdout
    messages = result.stderr.splitlines()
    for scenario in ("left-from-right", "right-from-left"):
        plugin = "(in the plug-in quick-methods 1.2 (entry point raises = quick_methods:raises))"
        assert f"harness: {scenario}/raises-seed0 failed: ValueError: bad | luck [bold] {plugin}" in messages
        assert f"harness: {scenario}/nan-seed0 failed: InvalidScoresError: " in result.stderr
        assert f"harness: {scenario}/dies-seed0 failed: its worker process was killed by SIGKILL" in result.stderr
        cause = f"The training of doomed on {scenario.partition('-')[0]}, seed 0 failed: FloatingPointError: the loss"
        assert f"{scenario}/doomed-seed0 failed: {cause}" in result.stderr
    assert len(messages) == 9
    # Runs that share a failed training do not repeat it.
    assert sorted(shop.journal("begun")) == ["left-0", "left-0", "right-0", "right-0"]
    results = out / "results" / "small" / "v1"
    assert [path.name for path in sorted(results.glob("left-from-right/*.json"))] == [
        *("dies-seed0.failed.json", "doomed-seed0.failed.json", "nan-seed0.failed.json"),
        *("quick-a-seed0.json", "raises-seed0.failed.json"),
    ]
    board = (out / "small-v1.md").read_text()
    assert board.count("*failed*") == 2 * 4 + 2 * 4
    assert "- raises, seed 0, failed: ValueError: bad \\| luck \\[bold\\] (in the plug-in" in board
    assert "- doomed, seed 0, failed: The training of doomed on left, seed 0 failed: FloatingPointError: the" in board
    # One line per finished step.
    lines = [line for line in result.stdout.splitlines() if line.startswith("Done ")]
    assert sum(": training " in line for line in lines) == 4
    assert sum(": scoring " in line for line in lines) == 10

    check = harness(shop, "leaderboard", "--check")
    assert (check.returncode, "as its results give" in check.stdout) == (0, True)
    retry = harness(shop, *shop.arguments, "--seed", "0", "--missing", "--json", QUICK_MENDED="1")
    assert retry.returncode == 0, retry.stderr
    assert len(json.loads(retry.stdout)["missing"]) == 8
    assert json.loads(retry.stdout)["failed"] == {}
    assert not list(results.rglob("*.failed.json"))
    assert len(list(results.rglob("*.json"))) == 10
    assert "failed" not in (out / "small-v1.md").read_text()


def test_no_board_is_written_if_every_run_fails(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "raises")
    result = harness(shop, *shop.arguments, "--seed", "0", "--json", "--debug")
    assert (result.returncode, len(json.loads(result.stdout)["failed"])) == (1, 2)
    assert "in fit" in result.stderr  # the traceback, with --debug
    assert not (tmp_path / "leaderboards" / "small-v1.md").exists()


def test_on_error_stop_ends_the_command_at_the_first_failure(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "raises", "quick-a")
    result = harness(shop, *shop.arguments, "--seed", "0", "--on-error", "stop")
    assert result.returncode == 2
    assert "raises on left-from-right, seed 0 failed: ValueError: bad | luck" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list((tmp_path / "leaderboards").rglob("*.json"))


def test_an_exception_in_a_plug_in_names_the_plug_in(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "no-plan")
    result = harness(shop, "plan", "--suite", "small.yaml", "--device", "cpu")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "The plug-in quick-methods 1.2 (entry point no-plan = quick_methods:no_plan)" in result.stderr
    assert "failed: KeyError: 'nothing planned'" in result.stderr
    assert "A bug" not in result.stderr


@pytest.mark.parametrize("source", ["1 +", "raise OSError('no [disk]')", "pass"])
def test_a_plug_in_that_cannot_be_loaded_is_named(tmp_path: Path, source: str) -> None:
    shop = Shop(tmp_path, "quick-a")
    (tmp_path / "site" / "quick_methods.py").write_text(source)
    result = harness(shop, "plan", "--suite", "small.yaml", "--device", "cpu")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "Method 'quick-a' of quick-methods 1.2 (entry point quick_methods:quick_a) cannot be" in result.stderr
