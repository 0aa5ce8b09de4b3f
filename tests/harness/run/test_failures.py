"""Runs that fail cost their own cells; the next command tries them again."""

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


def test_what_fails_is_told_and_tried_again_and_the_others_are_published(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "quick-a", "raises", "nan", "dies", "doomed")
    out = tmp_path / "boards [/x]"
    shop.environment["HARNESS_OUTPUT"] = str(out)
    done = harness(shop, *shop.arguments, "--seed", "0")
    assert done.returncode == 1, done.stderr
    assert "small/v1: small [bold]suite[/bold]\n" in done.stdout
    assert f"Leaderboard: {out / 'small-v1.md'}\n" in done.stdout
    told = done.stderr.splitlines()
    for scenario in ("left-from-right", "right-from-left"):
        plugin = "(in the plug-in quick-methods 1.2 (entry point raises = quick_methods:raises))"
        assert f"harness: {scenario}/raises-seed0 failed: ValueError: bad | luck [bold] {plugin}" in told
        assert f"harness: {scenario}/nan-seed0 failed: InvalidScoresError: " in done.stderr
        assert f"harness: {scenario}/dies-seed0 failed: its worker process was killed by SIGKILL" in done.stderr
        trained = f"The training of doomed on {scenario.partition('-')[0]}, seed 0 failed: FloatingPointError: the loss"
        assert f"{scenario}/doomed-seed0 failed: {trained}" in done.stderr
    assert len(told) == 9
    # A training that failed is not tried again by each run that needs it.
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
    # A line a finished step.
    assert sum(line.startswith("Training ") for line in done.stdout.splitlines()) == 4
    assert sum(line.startswith("Scoring ") for line in done.stdout.splitlines()) == 10

    again = harness(shop, "leaderboard", "--check")
    assert (again.returncode, "as its results give" in again.stdout) == (0, True)
    mended = harness(shop, *shop.arguments, "--seed", "0", "--missing", "--json", QUICK_MENDED="1")
    assert mended.returncode == 0, mended.stderr
    assert len(json.loads(mended.stdout)["missing"]) == 8
    assert json.loads(mended.stdout)["failed"] == {}
    assert not list(results.rglob("*.failed.json"))
    assert len(list(results.rglob("*.json"))) == 10
    assert "failed" not in (out / "small-v1.md").read_text()


def test_nothing_but_failures_makes_no_board(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "raises")
    done = harness(shop, *shop.arguments, "--seed", "0", "--json", "--debug")
    assert (done.returncode, len(json.loads(done.stdout)["failed"])) == (1, 2)
    assert "in fit" in done.stderr  # where, with --debug
    assert not (tmp_path / "leaderboards" / "small-v1.md").exists()


def test_all_stop_where_that_is_asked_for(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "raises", "quick-a")
    done = harness(shop, *shop.arguments, "--seed", "0", "--on-error", "stop")
    assert done.returncode == 2
    assert "raises on left-from-right, seed 0 failed: ValueError: bad | luck" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list((tmp_path / "leaderboards").rglob("*.json"))


def test_a_plug_in_s_exception_is_told_as_the_plug_in_s(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "no-plan")
    done = harness(shop, "plan", "--suite", "small.yaml", "--device", "cpu")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "The plug-in quick-methods 1.2 (entry point no-plan = quick_methods:no_plan)" in done.stderr
    assert "failed: KeyError: 'nothing planned'" in done.stderr
    assert "A bug" not in done.stderr


@pytest.mark.parametrize("source", ["1 +", "raise OSError('no [disk]')", "pass"])
def test_a_plug_in_that_cannot_be_loaded_is_named(tmp_path: Path, source: str) -> None:
    shop = Shop(tmp_path, "quick-a")
    (tmp_path / "site" / "quick_methods.py").write_text(source)
    done = harness(shop, "plan", "--suite", "small.yaml", "--device", "cpu")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "Method 'quick-a' of quick-methods 1.2 (entry point quick_methods:quick_a) cannot be" in done.stderr
