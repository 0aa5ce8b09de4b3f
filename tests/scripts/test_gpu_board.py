"""The script that runs language-model rows on another machine, and brings their results back."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.errors import HarnessError
from harness.suites import current_suite
from scripts.gpu_board_plan import check_disk, language_model_rows

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "gpu_board.sh"

#: Two rows that share a component, on twenty users.
SMALL = ["--suite", "cdsr-smoke", "--limit", "20", "--method", "target-only", "--method", "weaverec", "--jobs", "1"]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("HARNESS_CACHE", "HARNESS_OUTPUT")}
    return {**kept, "PYTHON": sys.executable, "DEVICE": "cpu", "OMP_NUM_THREADS": "1", **more}


def call(folder: Path, *arguments: str, **variables: str) -> Any:
    command = ["bash", str(SCRIPT), *arguments]
    return subprocess.run(command, cwd=folder, env=environment(**variables), capture_output=True, text=True)


def test_help_tells_how_to_use_it(tmp_path: Path) -> None:
    for arguments in (["--help"], ["run", "-h"], ["unpack", "--help"]):
        done = call(tmp_path, *arguments)
        assert done.returncode == 0
        for word in ("--suite", "--limit", "DEVICE", "MIN_DISK_GB", "pip install --no-index", "Exit codes"):
            assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--suit", "cdsr"], "Unknown option --suit. See scripts/gpu_board.sh --help."),
        (["--suite"], "--suite needs a value."),
        (["run", "extra"], "Unexpected argument extra."),
        (["unpack"], "unpack needs an archive."),
        (["unpack", "missing.tar.gz"], "There is no file missing.tar.gz."),
        (["unpack", "damaged.tar.gz"], "damaged.tar.gz is damaged or no archive. Copy it again."),
        (["unpack", "empty.tar.gz"], "empty.tar.gz has no results."),
    ],
)
def test_an_error_is_one_line_with_the_fix(tmp_path: Path, arguments: list[str], message: str) -> None:
    # The Python of the harness takes seconds to start, and is not what is tested here.
    shutil.copy("/bin/true", tmp_path / "python")
    (tmp_path / "damaged.tar.gz").write_bytes(b"\x1f\x8b damaged")
    (tmp_path / "note.txt").write_text("no results")
    with tarfile.open(tmp_path / "empty.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "note.txt", "note.txt")
    done = call(tmp_path, *arguments, PYTHON=str(tmp_path / "python"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"gpu_board: {message}")
    assert done.stderr.count("\n") == 1


def test_a_python_without_the_harness_is_named(tmp_path: Path) -> None:
    done = call(tmp_path, PYTHON="/bin/false")
    assert done.returncode == 2
    assert done.stderr.startswith("gpu_board: /bin/false cannot import the harness.")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_starts(tmp_path: Path) -> None:
    done = call(tmp_path, *SMALL, DEVICE="cuda")
    assert done.returncode == 2
    assert done.stderr == (
        "gpu_board: --device cuda: PyTorch sees no GPU. Use --device cpu, or a CUDA build of PyTorch.\n"
    )
    assert not list(tmp_path.iterdir())


def test_the_rows_are_those_of_language_models() -> None:
    suite = current_suite("cdsr-smoke")
    rows = language_model_rows(suite, None, False)
    assert {"zero-shot", "target-only", "weaverec", "random-merge"} <= set(rows)
    assert not {"popularity", "sasrec", "item-knn", "recbole.NARM", "fdsa"} & set(rows)
    paper = language_model_rows(current_suite("paper"), None, False)  # its weights are not here
    assert "ranker.weaverec" in paper
    assert "popularity" not in paper
    with pytest.raises(HarnessError, match=r"sasrec of cdsr-smoke/v1: no method is made with a language model"):
        language_model_rows(suite, ["sasrec"], False)


def test_too_little_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=7e9))
    plan: Any = SimpleNamespace(trainings=[None] * 6)
    with pytest.raises(HarnessError, match=r"cache has 7 GB of free disk; 6 trainings may need 8 GB"):
        check_disk(plan, tmp_path / "cache", None)
    check_disk(plan, tmp_path / "cache", 6)
    check_disk(SimpleNamespace(trainings=[]), tmp_path / "cache", None)  # type: ignore[arg-type]


def results_in(folder: Path) -> dict[str, bytes]:
    files = (path for path in (folder / "results").rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.slow
def test_a_run_is_interrupted_resumed_packed_and_unpacked(tmp_path: Path) -> None:
    command = ["bash", str(SCRIPT), *SMALL]
    run = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    trained, until = tmp_path / ".harness" / "store" / "lora", time.monotonic() + 900
    while not list(trained.glob("*/manifest.json")) and run.poll() is None and time.monotonic() < until:
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGTERM)
    run.communicate(timeout=300)
    assert run.returncode not in (0, 2)
    assert not list((tmp_path / "gpu-board").glob("*.tar.gz"))
    (first,) = trained.glob("*/manifest.json")
    made = first.read_bytes()

    done = call(tmp_path, *SMALL)
    assert done.returncode == 0, done.stderr
    assert "1 to be trained, 1 reused" in done.stderr
    assert first.read_bytes() == made
    archive = tmp_path / "gpu-board" / "cdsr-smoke-limit-20-v1.tar.gz"
    assert f"Archive: {archive.relative_to(tmp_path)}" in done.stdout
    again = call(tmp_path, *SMALL)
    assert "2 in the cache, 0 to be made" in again.stderr

    unpacked = call(tmp_path, "unpack", str(archive), "--into", "back")
    assert unpacked.returncode == 0, unpacked.stderr
    assert "2 results in back" in unpacked.stdout
    results = results_in(tmp_path / "gpu-board")
    assert results == results_in(tmp_path / "back")
    assert sum(name.endswith("seed0.parquet") for name in results) == 2
    boards = [(tmp_path / folder / "cdsr-smoke-limit-20-v1.md").read_text() for folder in ("gpu-board", "back")]
    assert boards[0] == boards[1]
    assert call(tmp_path, "unpack", str(archive), "--into", "back").returncode == 0  # the same once more

    (result,) = (tmp_path / "back").rglob("weaverec-seed0.json")
    result.write_text(json.dumps({**json.loads(result.read_text()), "seed": 1}))
    refused = call(tmp_path, "unpack", str(archive), "--into", "back")
    assert refused.returncode == 2
    assert "back has 1 of these files with other content, such as results/cdsr-smoke-limit-20/v1/" in refused.stderr
    assert not list((tmp_path / "back").glob(".unpacked*"))
