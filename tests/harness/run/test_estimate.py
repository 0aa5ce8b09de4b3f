"""Estimates of plans: of this machine, and against committed results."""

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.run import estimate
from harness.run.estimate import SHARE_REACHED, matrix_rate, training_estimates
from harness.run.plan import make_plan
from harness.run.progress import make_console, show_progress
from harness.run.workspace import open_workspace
from harness.suites import current_suite

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "scaling.md"
RESULTS = ROOT / "leaderboards" / "results" / "cdsr" / "v2"

#: Operations a second that one core of the machine of the results makes in matrix products.
RATE = 200e9


@dataclass(frozen=True)
class Measured:
    """A training of the committed results: optimiser steps, their cap, and CPU-seconds."""

    steps: int
    cap: int
    cpu_s: float


def measured_trainings() -> dict[str, Measured]:
    """The trainings of seed 0 by label."""
    trainings = {}
    for path in sorted(RESULTS.glob("*/*-seed0.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        costs = result.get("cost", {}).get("artefacts", [])
        for record, cost in zip(result.get("training", []), costs, strict=True):
            if record["label"].startswith("LoRA on") and record["label"].endswith("seed 0"):
                domains = record["label"].count(" + ") + 1
                if result["method"] in ("target-only", "joint", "naive-merge", "weaverec"):
                    cap = result["settings"]["steps"] * domains
                    trainings[record["label"]] = Measured(record["steps"], cap, cost["cpu_s"])
    return trainings


def table_rows() -> dict[str, list[str]]:
    """The rows of the page's table by label: steps, CPU-seconds, estimated seconds, and their ratio."""
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (LoRA on [^|]+?) +\|([^\n]+)\|$", text, re.MULTILINE)
    return {label: [cell.strip() for cell in cells.split("|")] for label, cells in rows}


def test_the_table_holds_the_committed_results_and_estimates_are_near() -> None:
    rows, trainings = table_rows(), measured_trainings()
    assert rows.keys() == trainings.keys()
    for label, (steps, cpu_s, estimated_s, ratio) in rows.items():
        measured = trainings[label]
        assert (steps, cpu_s) == (str(measured.steps), f"{measured.cpu_s:.0f}")
        assert float(ratio) == pytest.approx(float(estimated_s) / measured.cpu_s, abs=0.011)
        assert 1 / 1.5 < float(ratio) < 1.5


@pytest.mark.slow
def test_the_table_s_estimates_are_those_of_a_plan(tmp_path: Path) -> None:
    suite = current_suite("cdsr/v2")
    with show_progress(make_console(stderr=True)) as progress:
        workspace = open_workspace(suite, cache_dir=tmp_path, data_dir=tmp_path, device="cpu", progress=progress)
    methods = ["target-only", "joint", "naive-merge", "weaverec"]
    plan = make_plan(workspace, suite.scenarios, methods, [0])
    trainings, estimated = measured_trainings(), {}
    for each in training_estimates(plan):
        measured = trainings[each.label]
        estimated[each.label] = each.flops * measured.steps / measured.cap / (SHARE_REACHED["cpu"] * RATE)
    lines = [
        f"| {label} | {trainings[label].steps} | {trainings[label].cpu_s:.0f} | {seconds:.0f} | "
        f"{seconds / trainings[label].cpu_s:.2f} |"
        for label, seconds in sorted(estimated.items())
    ]
    print("\n".join(lines))
    assert {label: cells[2] for label, cells in table_rows().items()} == {
        label: f"{seconds:.0f}" for label, seconds in estimated.items()
    }


def test_the_rate_of_a_core_is_that_of_the_time_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(_: str) -> float:
        """A measurement in which other processes had the core three quarters of the time."""
        start = time.process_time()
        while time.process_time() - start < 0.1:
            pass
        time.sleep(0.3)
        return 50e9

    monkeypatch.setattr(estimate, "flops_per_second", measured)
    assert matrix_rate("cpu") > 100e9
    assert matrix_rate("cuda") == 50e9
