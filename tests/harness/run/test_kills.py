"""Commands that are killed at any instant, and commands at the same time: nothing is made twice, nothing is left."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.plugin import Shop


def start(shop: Shop, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "harness.cli", *shop.arguments, *more]
    return subprocess.Popen(
        command,
        cwd=shop.folder,
        env=shop.environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # Whoever runs the tests in the background has the signal ignored, and children inherit that.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def family(shop: Shop) -> list[psutil.Process]:
    """All processes that work in the shop's folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(shop.folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def finished(shop: Shop) -> set[str]:
    """The trainings that are in the store."""
    manifests = (shop.folder / ".harness" / "store" / "quick").glob("*/manifest.json")
    labels = [json.loads(path.read_text())["notes"]["label"] for path in manifests]
    return {label.removeprefix("quick on ").replace(", seed ", "-") for label in labels}


def contents(folder: Path) -> dict[str, object]:
    """Results less when and where they were made, and ranks, by path."""
    found: dict[str, object] = {}
    for path in folder.rglob("*.*"):
        if path.suffix == ".parquet":
            found[str(path.relative_to(folder))] = path.read_bytes()
        elif path.suffix == ".json":
            result = json.loads(path.read_text())
            found[str(path.relative_to(folder))] = {k: v for k, v in result.items() if k not in ("provenance", "cost")}
    return found


def killed_and_finished(tmp_path: Path, kills: int, seed: int) -> None:
    draw = random.Random(seed)
    whole = Shop(tmp_path / "whole", "quick-a", "quick-b", seconds=0.4)
    began = time.monotonic()
    undisturbed = start(whole)
    _, err = undisturbed.communicate(timeout=300)
    assert undisturbed.returncode == 0, err
    took = time.monotonic() - began
    shop = Shop(tmp_path / "cut", "quick-a", "quick-b", seconds=0.4)
    before: set[str] = set()
    for kill in range(kills):
        begun = len(shop.journal("begun"))
        run = start(shop)
        time.sleep(draw.uniform(0, took))
        if draw.random() < 0.5:
            os.killpg(run.pid, signal.SIGKILL)
        else:
            run.kill()
        run.communicate(timeout=60)
        deadline = time.monotonic() + 10
        while family(shop):
            assert time.monotonic() < deadline, f"kill {kill}: {[p.cmdline() for p in family(shop)]}"
            time.sleep(0.1)
        # What was in the store before this command was not begun again by it.
        assert not before & set(shop.journal("begun")[begun:])
        assert before <= finished(shop)
        before = finished(shop)
    begun = len(shop.journal("begun"))
    last = start(shop)
    _, err = last.communicate(timeout=300)
    assert last.returncode == 0, err
    assert not before & set(shop.journal("begun")[begun:])
    assert contents(shop.folder / "leaderboards" / "results") == contents(whole.folder / "leaderboards" / "results")
    board = Path("leaderboards", "small-v1.md")
    assert (shop.folder / board).read_text() == (whole.folder / board).read_text()
    assert not [path for path in shop.folder.rglob(".*") if path.name != ".harness"]
    assert not list(shop.folder.rglob("*.lock"))
    assert not list((shop.folder / ".harness" / "store").glob("unfinished/*"))
    assert not family(shop)


def test_killed_three_times_and_finished(tmp_path: Path) -> None:
    killed_and_finished(tmp_path, 3, seed=1)


@pytest.mark.slow
def test_killed_thirty_times_and_finished(tmp_path: Path) -> None:
    for seed in range(3):
        (tmp_path / str(seed)).mkdir()
        killed_and_finished(tmp_path / str(seed), 10, seed=10 + seed)


def test_four_commands_at_once_make_each_training_once(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "quick-a", "quick-b", "popular", seconds=1)
    methods = ["quick-a", "quick-b", "popular"]
    only = [("--method", methods[number % 3]) for number in range(3)]
    runs = [start(shop, *arguments) for arguments in (*only, ())]
    told = [run.communicate(timeout=500) for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0, 0], told
    assert sorted(shop.journal("made")) == sorted(shop.journal("begun")) == ["left-0", "left-1", "right-0", "right-1"]
    results = tmp_path / "leaderboards" / "results"
    assert len(list(results.rglob("*.json"))) == 2 * 3 * 2
    # One waited, and said for whom.
    assert any("Waiting for process " in out for out, _ in told)
    board = (tmp_path / "leaderboards" / "small-v1.md").read_text()
    assert all(method in board for method in methods)
    assert "Incomplete" not in board
    check = [sys.executable, "-m", "harness.cli", "leaderboard", "--check"]
    assert subprocess.run(check, cwd=tmp_path, env=shop.environment, check=False).returncode == 0
    assert not list(tmp_path.rglob("*.lock"))


@pytest.mark.parametrize("times", [1, 3])
def test_ctrl_c_and_again_leaves_nothing(tmp_path: Path, times: int) -> None:
    shop = Shop(tmp_path, "quick-a", seconds=20)
    run = start(shop)
    deadline = time.monotonic() + 100
    while len(shop.journal("begun")) < 2:
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for _ in range(times):
        os.killpg(run.pid, signal.SIGINT)
        time.sleep(0.02)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
    assert err == "harness: Interrupted. What is finished is kept; run the same command again to resume.\n"
    assert not family(shop)
    assert not [path for path in tmp_path.rglob(".*") if path.name != ".harness"]
    assert not list(tmp_path.rglob("*.lock"))
