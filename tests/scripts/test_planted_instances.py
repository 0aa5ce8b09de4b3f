"""Language-model methods find the planted help and harm, and nothing where nothing is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.suites import load_suite
from scripts.planted_instances import CONTROLS, LAWS, PAGE, Instance, found, page, run_instance, write_suite


def test_help_is_found(tmp_path: Path) -> None:
    # Few steps, so twice the suite's learning rate.
    settings = {"steps": 10, "validate_every": 10, "learning_rate": 0.002}
    instance = run_instance(1, tmp_path, ["helpful"], settings)
    scores = instance["ndcg@10"]
    assert scores["zero-shot"] < scores["target-only"] < scores["ceiling"] - 0.05
    for name, row in instance["laws"]["helpful"].items():
        assert found(row) == 1, name
        assert scores["target-only"] + 0.03 < row["ndcg@10"] < scores["ceiling"] + 0.03, name


@pytest.mark.slow
def test_harm_is_found_and_nothing_where_nothing_is(tmp_path: Path) -> None:
    laws = run_instance(1, tmp_path)["laws"]
    signs = {law: [found(rows[row]) for row in ("naive-merge", "weaverec", "joint")] for law, rows in laws.items()}
    assert signs == {"helpful": [1, 1, 1], "harmful": [-1, -1, -1], "neutral": [0, 0, 0]}


def test_an_instance_is_the_suite_with_other_domains(tmp_path: Path) -> None:
    write_suite(tmp_path / "instance.yaml", 7, settings={"steps": 30})
    suite, shipped = load_suite(str(tmp_path / "instance.yaml")), load_suite("cdsr-planted/v3")
    assert [scenario.sources for scenario in suite.scenarios] == [(law,) for law in LAWS]
    for domain in suite.domains:
        original = shipped.spec(domain.name).source.model_dump()
        assert domain.source.model_dump() == original | {"seed": 7}
    assert suite.budget == shipped.budget
    for method in ("target-only", "target-soup", *CONTROLS):
        assert suite.settings[method] == {**shipped.settings[method], "steps": 30}


def result(gains: Mapping[str, tuple[float, float]]) -> Mapping[str, Any]:
    """A row of an instance, from gain and p-value over each control."""
    return {"gains": {control: {"gain": gain, "p": p} for control, (gain, p) in gains.items()}}


def test_a_gain_is_found_over_all_controls_or_not_at_all() -> None:
    assert found(result({"a": (0.1, 0.01), "b": (0.2, 0.04)})) == 1
    assert found(result({"a": (-0.1, 0.01), "b": (-0.2, 0.04)})) == -1
    assert found(result({"a": (0.1, 0.01), "b": (0.2, 0.06)})) == 0
    assert found(result({"a": (0.1, 0.01), "b": (-0.2, 0.01)})) == 0
    assert found(result({"a": (0.1, 0.01)})) == 1


def test_the_page_counts_what_is_found() -> None:
    def instance(gain: float, p: float) -> Instance:
        rows = {row: result(dict.fromkeys(controls, (gain, p))) for row, controls in CONTROLS.items()}
        return {"ndcg@10": {"zero-shot": 0.2, "target-only": 0.3, "ceiling": 0.4}, "laws": dict.fromkeys(LAWS, rows)}

    lines = page([instance(0.2, 0.01), instance(0.1, 0.2), instance(-0.3, 0.01)]).split("\n")
    (line,) = (line for line in lines if "harmful" in line and "weaverec" in line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    # The interval is Student's t with two degrees of freedom: 4.3027 * .2646 / sqrt(3).
    assert cells[2:] == ["+0.000 ± 0.657", "+0.000 ± 0.657", "2 of 3", "1", "1"]


def test_the_page_is_that_of_its_instances() -> None:
    instances = json.loads(PAGE.with_suffix(".json").read_text(encoding="utf-8"))
    assert page(instances) == PAGE.read_text(encoding="utf-8")
