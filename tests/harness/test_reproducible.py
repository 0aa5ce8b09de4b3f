"""The same seed gives the same result, from scratch, with every kind of method."""

import re
import subprocess
import sys
from pathlib import Path

from harness.report.collect import collect


def test_two_runs_from_scratch_differ_in_nothing_but_time_and_place(tmp_path: Path) -> None:
    digests, boards = [], []
    for attempt in ("1", "2"):
        folder = tmp_path / attempt
        folder.mkdir()
        methods = [part for name in ("popularity", "sasrec", "weaverec") for part in ("--method", name)]
        command = [sys.executable, "-m", "harness.cli", "run", "--suite", "cdsr-smoke", *methods]
        subprocess.run([*command, "--jobs", attempt], cwd=folder, check=True, capture_output=True)
        board = collect(folder / "leaderboards" / "results", "cdsr-smoke", 1)
        digests.append([result.content_digest() for result in board.results])
        text = (folder / "leaderboards" / "cdsr-smoke-v1.md").read_text(encoding="utf-8")
        boards.append(re.sub(r"^## What training cost$.*?(?=^## )", "", text, count=1, flags=re.DOTALL | re.MULTILINE))
    assert digests[0] == digests[1]
    assert boards[0] == boards[1]
