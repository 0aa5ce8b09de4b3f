"""The same seed gives the same result, from scratch, with every kind of method."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from harness.report.collect import Board, collect
from harness.report.leaderboard import leaderboard
from harness.results.record import RunResult


def _without_cost(board: Board) -> Board:
    """The board as if nothing had been trained: times differ from run to run."""

    def cleared(result: RunResult) -> RunResult:
        return result.model_copy(update={"cost": result.cost.model_copy(update={"artefacts": ()})})

    return replace(
        board,
        scenarios={
            name: tuple(replace(entry, results=tuple(map(cleared, entry.results))) for entry in entries)
            for name, entries in board.scenarios.items()
        },
    )


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
        boards.append(leaderboard(_without_cost(board)))
    assert digests[0] == digests[1]
    assert boards[0] == boards[1]
