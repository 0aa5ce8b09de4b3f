"""Killed and concurrent commands repeat no finished training and leave no files or processes behind."""

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


def start(shop: Shop, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "harness.cli", *shop.arguments, *arguments]
    return subprocess.Popen(
        command,
        cwd=shop.folder,
        env=shop.environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # Background jobs may ignore SIGINT, and child processes inherit that.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def processes_of(shop: Shop) -> list[psutil.Process]:
    """Return all processes whose working directory is the shop's folder."""
    processes = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(shop.folder) and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(process)
        except psutil.Error:
            continue
    return processes


def stored_trainings(shop: Shop) -> set[str]:
    """Return the names of the trainings in the store."""
    manifests = (shop.folder / ".harness" / "store" / "quick").glob("*/manifest.json")
    labels = [json.loads(path.read_text())["notes"]["label"] for path in manifests]
    return {label.removeprefix("quick on ").replace(", seed ", "-") for label in labels}


def contents(folder: Path) -> dict[str, object]:
    """Return results without provenance and cost, and tables, by path."""
    content_by_path: dict[str, object] = {}
    for path in folder.rglob("*.*"):
        if path.suffix == ".parquet":
            content_by_path[str(path.relative_to(folder))] = path.read_bytes()
        elif path.suffix == ".json":
            result = json.loads(path.read_text())
            content_by_path[str(path.relative_to(folder))] = {
                k: v for k, v in result.items() if k not in ("provenance", "cost")
            }
    return content_by_path


def check_killed_runs(tmp_path: Path, kills: int, seed: int) -> None:
    """Kill a command several times, finish it, and compare its files with those of an undisturbed one."""
    rng = random.Random(seed)
    undisturbed_shop = Shop(tmp_path / "undisturbed", "quick-a", "quick-b", seconds=0.4)
    started = time.monotonic()
    undisturbed = start(undisturbed_shop)
    _, err = undisturbed.communicate(timeout=300)
    assert undisturbed.returncode == 0, err
    duration = time.monotonic() - started
    shop = Shop(tmp_path / "killed", "quick-a", "quick-b", seconds=0.4)
    before: set[str] = set()
    for kill in range(kills):
        begun = len(shop.journal("begun"))
        run = start(shop)
        time.sleep(rng.uniform(0, duration))
        if rng.random() < 0.5:
            os.killpg(run.pid, signal.SIGKILL)
        else:
            run.kill()
        run.communicate(timeout=60)
        deadline = time.monotonic() + 10
        while processes_of(shop):
            assert time.monotonic() < deadline, f"kill {kill}: {[p.cmdline() for p in processes_of(shop)]}"
            time.sleep(0.1)
        # The command started no training that was already in the store.
        assert not before & set(shop.journal("begun")[begun:])
        assert before <= stored_trainings(shop)
        before = stored_trainings(shop)
    begun = len(shop.journal("begun"))
    last = start(shop)
    _, err = last.communicate(timeout=300)
    assert last.returncode == 0, err
    assert not before & set(shop.journal("begun")[begun:])
    assert contents(shop.folder / "leaderboards" / "results") == contents(
        undisturbed_shop.folder / "leaderboards" / "results"
    )
    board = Path("leaderboards", "small-v1.md")
    assert (shop.folder / board).read_text() == (undisturbed_shop.folder / board).read_text()
    assert not [path for path in shop.folder.rglob(".*") if path.name != ".harness"]
    assert not list(shop.folder.rglob("*.lock"))
    assert not list((shop.folder / ".harness" / "store").glob("unfinished/*"))
    assert not processes_of(shop)


def test_a_run_killed_three_times_can_be_finished(tmp_path: Path) -> None:
    check_killed_runs(tmp_path, 3, seed=1)


@pytest.mark.slow
def test_runs_killed_thirty_times_can_be_finished(tmp_path: Path) -> None:
    for seed in range(3):
        (tmp_path / str(seed)).mkdir()
        check_killed_runs(tmp_path / str(seed), 10, seed=10 + seed)


def test_concurrent_commands_run_each_training_once(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "quick-a", "quick-b", "popular", seconds=1)
    methods = ["quick-a", "quick-b", "popular"]
    single_methods = [("--method", methods[number % 3]) for number in range(3)]
    runs = [start(shop, *arguments) for arguments in (*single_methods, ())]
    outputs = [run.communicate(timeout=500) for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0, 0], outputs
    assert sorted(shop.journal("made")) == sorted(shop.journal("begun")) == ["left-0", "left-1", "right-0", "right-1"]
    results = tmp_path / "leaderboards" / "results"
    assert len(list(results.rglob("*.json"))) == 2 * 3 * 2
    # One command waited, and named the process it waited for.
    assert any("Waiting for process " in out for out, _ in outputs)
    board = (tmp_path / "leaderboards" / "small-v1.md").read_text()
    assert all(method in board for method in methods)
    assert "Incomplete" not in board
    check = [sys.executable, "-m", "harness.cli", "leaderboard", "--check"]
    assert subprocess.run(check, cwd=tmp_path, env=shop.environment, check=False).returncode == 0
    assert not list(tmp_path.rglob("*.lock"))


@pytest.mark.parametrize("times", [1, 3])
def test_repeated_ctrl_c_leaves_no_files_or_processes(tmp_path: Path, times: int) -> None:
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
    assert not processes_of(shop)
    assert not [path for path in tmp_path.rglob(".*") if path.name != ".harness"]
    assert not list(tmp_path.rglob("*.lock"))
