"""Records of Every Eval Ever, against its schema (version 0.3.0, MIT; from the package every-eval-ever)."""

import json
import re
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from typer.testing import CliRunner

from harness.cli.app import app
from harness.errors import HarnessError
from harness.report.every_eval_ever import SCHEMA_VERSION, every_eval_ever
from harness.results.files import read_record, read_result
from harness.results.record import OutsideRecord
from tests.harness.report.made_results import write_made

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((Path(__file__).parent / "every_eval_ever" / "eval.schema.json").read_text(encoding="utf-8"))
SCENARIOS = ("cdsr/v2/drama-from-action", "cdsr-amazon/v1/beauty-from-toys", "cdsr-planted/v3/target-from-helpful")


def check(record: object) -> None:
    jsonschema.Draft7Validator(SCHEMA).validate(record)


def test_the_schema_is_of_the_version_that_records_name() -> None:
    assert SCHEMA["version"] == SCHEMA_VERSION


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_records_of_committed_results_are_valid(scenario: str) -> None:
    folder = ROOT / "leaderboards" / "results" / scenario
    for path in sorted(folder.glob("*-seed0.json")):
        result, table = read_result(path)
        record = every_eval_ever(result, table, "us", 1.5)
        check(record)
        scores = {score["evaluation_result_id"]: score for score in record["evaluation_results"]}
        assert len(scores) == len(record["evaluation_results"])
        prefix = f"{result.suite}-v{result.suite_version}.{result.scenario.name}"
        for candidates, each in result.candidates.items():
            for slice_name, metrics in (each.metrics or {}).items():
                for metric, value in metrics.items():
                    score = scores.pop(f"{prefix}.{candidates}.{slice_name}.{metric}", None)
                    assert (score is None) == (value is None)
                    if score is not None:
                        assert score["score_details"]["score"] == pytest.approx(value, abs=1e-12)
                        samples = score["score_details"]["uncertainty"]["num_samples"]
                        assert samples == result.slices[slice_name]
        assert scores == {}


def test_the_standard_error_is_that_of_the_mean(tmp_path: Path) -> None:
    above = np.array([0, 0, 5, 40])
    result, table = read_result(write_made(tmp_path, "method", 0, {"full": above}))
    record = every_eval_ever(result, table, "us", 0.0)
    (score,) = [s for s in record["evaluation_results"] if s["evaluation_result_id"].endswith(".full.all.hr@1")]
    values = (above == 0).astype(float)
    uncertainty = score["score_details"]["uncertainty"]
    assert uncertainty["standard_error"]["value"] == pytest.approx(np.std(values, ddof=1) / 2)
    # Of one user there is none.
    one, table = read_result(write_made(tmp_path / "one", "method", 0, {"full": np.array([3])}))
    details = [s["score_details"] for s in every_eval_ever(one, table, "us", 0.0)["evaluation_results"]]
    assert all("standard_error" not in each["uncertainty"] for each in details)


def test_metrics_that_lists_are_too_short_for_are_left_out(tmp_path: Path) -> None:
    outside = OutsideRecord(
        files={"full": "0" * 64}, lists=True, list_length=5, missing_users=0, other_users=0, history_items=0
    )
    changes = {"outside": outside.model_dump(mode="json")}
    path = write_made(tmp_path, "method", 0, {"full": np.arange(8), "sampled-30": np.arange(8)}, changes=changes)
    record = every_eval_ever(*read_result(path), "us", 0.0)
    check(record)
    cutoffs: dict[str, set[int]] = {"full": set(), "sampled-30": set()}
    for score in record["evaluation_results"]:
        parameters = score["metric_config"]["metric_parameters"]
        cutoffs[parameters["candidates"]].add(parameters["k"])
    assert cutoffs == {"full": {1, 3, 5}, "sampled-30": {1, 3, 5, 10, 20}}


def test_the_command_writes_a_record_by_the_layout_of_the_database(tmp_path: Path) -> None:
    path = ROOT / "leaderboards" / "results" / SCENARIOS[0] / "sasrec-seed0.json"
    command = ["export-run", str(path), "--format", "every-eval-ever", "--organization", "A Lab"]
    command += ["--output-dir", str(tmp_path)]
    printed = [CliRunner().invoke(app, command, catch_exceptions=False).stdout for _ in range(2)]
    assert printed[0] == printed[1]
    (written,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert str(written) == printed[0].strip()
    uuid4 = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    assert re.fullmatch(f"data/cdsr-v2/cdsr-harness/sasrec/{uuid4}.json", written.relative_to(tmp_path).as_posix())
    record = json.loads(written.read_text(encoding="utf-8"))
    check(record)
    assert record["source_metadata"]["source_organization_name"] == "A Lab"
    assert record["model_info"]["additional_details"]["seed"] == str(read_record(path).seed)
    with pytest.raises(HarnessError, match="No result file"):
        CliRunner().invoke(app, [*command[:1], "no.json", *command[2:]], catch_exceptions=False)
