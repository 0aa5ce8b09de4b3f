"""One result file in words."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.errors import HarnessError
from harness.report.show import explain, read_shown
from harness.results.failure import FailureRecord, write_failure
from tests.harness.report.made_results import write_made
from tests.harness.report.test_cost import ENERGY

ABOVE = np.arange(40) % 15
TRAINING = {
    "kind": "lora",
    "label": "LoRA on drama, seed 0",
    "key": "k",
    "validation": [0.1, 0.3, 0.2],
    "steps": 300,
    "best_step": 200,
    "trainable_parameters": 1234,
    "notes": {"stopped_by": "cap on steps"},
}


def shown(tmp_path: Path, **changes: Any) -> str:
    return explain(read_shown(write_made(tmp_path, "one", 0, {"full": ABOVE}, changes=changes)))


def careful(text: str) -> str:
    return text.partition("## Be careful\n")[2]


def test_figures_are_those_of_the_ranks(tmp_path: Path) -> None:
    values = np.where(ABOVE < 10, 1 / np.log2(ABOVE + 2.0), 0)
    low, high = stats.ttest_1samp(values, 0).confidence_interval()
    text = shown(tmp_path)
    assert f"| {values.mean():.4f} ± {(high - low) / 2:.4f} |" in text
    assert f"{(ABOVE < 10).mean():.4f} |" in text
    assert text.startswith("# one on drama-from-action of made/v1, seed 0\n")
    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert headings == [
        "What was run", "Data", "What came out", "How it was trained", "Cost", "Where it comes from", "Be careful",
    ]  # fmt: skip
    assert "Nothing was trained by gradient steps." in text


def test_what_to_be_careful_about(tmp_path: Path) -> None:
    data = json.loads(write_made(tmp_path / "first", "one", 0, {"full": ABOVE}).read_text())["data"]
    data["drama"]["ties"]["order"] = "file"
    text = shown(
        tmp_path,
        data=data,
        training=[TRAINING],
        settings={"rank": 4, "inner": {"depth": 2}},
        budget={"trials": 5, "epochs": 3, "patience": 2},
    )
    assert "rank 4, inner.depth 2" in text
    assert "0.3000" in text.partition("## How it was trained")[2]
    for sentence in (
        "One seed: ",
        "LoRA on drama, seed 0 was stopped by the cap on steps",
        "Not tuned, though the budget has 5 trials",
        "events of one time are in the order of the file",
        "made/v1 is not a built-in suite",
    ):
        assert sentence in careful(text)


def test_patience_and_fixed_settings_are_no_fault(tmp_path: Path) -> None:
    fields = {**TRAINING, "notes": {"stopped_by": "patience"}}
    text = careful(shown(tmp_path, training=[fields], settings={"rank": 4}))
    assert "stopped by" not in text
    assert "Not tuned: the suite runs every method with fixed settings." in text


def test_energy_is_told_if_all_of_it_was_tracked(tmp_path: Path) -> None:
    record = ENERGY.model_dump(mode="json")
    cost = {"fit_s": 1, "score_s": 1, "peak_memory_mb": 1, "energy": record}
    artefact = {"label": "a", "key": "k", "wall_s": 1, "peak_memory_mb": 1}
    text = shown(tmp_path / "all", cost={**cost, "artefacts": [{**artefact, "energy": record}]})
    assert "- Energy of all of it: 3.00 Wh, 4.00 g CO2; estimated by a model: ram.\n" in text
    assert "Energy" not in shown(tmp_path / "part", cost={**cost, "artefacts": [artefact]})


def test_a_result_without_its_ranks_is_explained_and_says_so(tmp_path: Path) -> None:
    path = write_made(tmp_path, "one", 0, {"full": ABOVE})
    path.with_suffix(".parquet").unlink()
    text = explain(read_shown(path))
    assert "±" not in text.partition("## Be careful")[0]
    assert "The files of ranks and users are not beside it" in careful(text)


def test_json_is_the_file(tmp_path: Path) -> None:
    path = write_made(tmp_path, "one", 0, {"full": ABOVE})
    assert read_shown(path).fields == json.loads(path.read_text())


def test_a_failed_run_is_explained(tmp_path: Path) -> None:
    record = FailureRecord(
        suite="made", suite_version=1, scenario="drama-from-action", method="one", seed=0,
        cause="no [weights]", created="2026-01-01",
    )  # fmt: skip
    write_failure(record, tmp_path)
    text = explain(read_shown(tmp_path / record.path))
    assert "This run failed (2026-01-01), so there is no result: no \\[weights\\]" in text


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = write_made(tmp_path, "one", 0, {"full": ABOVE})
    with pytest.raises(HarnessError, match=r"Did you mean .*one-seed0\.json"):
        read_shown(path.with_name("ones-seed0.json"))
    with pytest.raises(HarnessError, match=r"is a table of a result\. Name .*one-seed0\.json"):
        read_shown(path.with_suffix(".parquet"))
    path.with_suffix(".parquet").write_bytes(b"")
    with pytest.raises(HarnessError, match="is not the ranks file"):
        read_shown(path)
    path.write_text("{}")
    with pytest.raises(HarnessError, match="Corrupt result file"):
        read_shown(path)
