"""`harness reproduce`: what it prints and writes, and its exit codes."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from harness.results.files import ranks_path, read_result
from harness.results.ranks_table import RankTable
from harness.results.reproduction import read_reproduction
from harness.run.suite import run_suite
from harness.storage.files import file_digest
from tests.harness.cli.test_run import harness
from tests.plugin import Shop

STEM = Path("results", "small", "v1", "left-from-right", "popularity-seed0.json")


@pytest.fixture
def result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A result of a small suite, in the folder `leaderboards` of the working directory."""
    folder = tmp_path / "shop"
    Shop(folder, "popularity")
    monkeypatch.chdir(folder)
    run_suite("small.yaml", seeds=[0], data_dir=folder, device="cpu", jobs=0, console=Console(quiet=True))
    return folder / "leaderboards" / STEM


def worsen(path: Path) -> None:
    """Put the test items of a result ten places lower, and its metrics with them."""
    _, table = read_result(path)
    ranks = {name: type(r)(r.above, r.tied, r.candidates + 10) for name, r in table.ranks.items()}
    ranks = {name: type(r)(r.above + 10, r.tied, r.candidates) for name, r in ranks.items()}
    worse = RankTable(ranks, table.slices, table.users)
    ranks_path(path).write_bytes(worse.to_parquet())
    content = json.loads(path.read_text())
    content["ranks_sha256"] = file_digest(ranks_path(path))
    for name in ranks:
        content["candidates"][name]["metrics"] = worse.metrics(name)
    path.write_text(json.dumps(content))


def test_a_run_is_made_again_and_recorded(
    result: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("reproduce", str(result), "--suite", "small.yaml", "--jobs", "0")
    before = {path: path.read_bytes() for path in result.parents[4].rglob("*.*") if path.is_file()}
    code, out, _ = harness(monkeypatch, capsys, *arguments)
    assert code == 0
    assert "popularity on left-from-right, seed 0, of small/v1: equal" in out
    assert "  full: 100.0% of ranks equal, largest difference 0; metrics: largest difference 0, over slices 0" in out
    assert {path: path.read_bytes() for path in result.parents[4].rglob("*.*") if path.is_file()} == before
    code, out, err = harness(monkeypatch, capsys, *arguments, "--record", "--json")
    record = read_reproduction(result, read_result(result)[0])
    assert (code, record is not None, "leaderboards/reproduced/small/v1" in err) == (0, True, True)
    assert json.loads(out) == record.model_dump(mode="json")


def test_another_result_exits_with_one_and_other_code_is_warned_of(
    result: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    worsen(result)
    content = json.loads(result.read_text())
    content["code"]["source"] = "0" * 64
    result.write_text(json.dumps(content))
    arguments = ("reproduce", str(result), "--suite", "small.yaml", "--jobs", "0")
    code, out, err = harness(monkeypatch, capsys, *arguments)
    assert (code, "seed 0, of small/v1: different" in out) == (1, True)
    assert "full: 0.0% of ranks equal, largest difference 10;" in out
    assert "Warning: other code than the result's: 000000000000 then" in err
    assert "  differs: code: 000000000000 then" in out


def test_a_record_needs_a_place(
    result: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lone = Path("lone.json")
    lone.write_bytes(result.read_bytes())
    code, _, err = harness(monkeypatch, capsys, "reproduce", "lone.json", "--record")
    assert (code, "there is no place for a record" in err, err.count("\n")) == (2, True, 1)
    code, _, err = harness(monkeypatch, capsys, "reproduce", "gone.json")
    assert (code, "No result file gone.json" in err, err.count("\n")) == (2, True, 1)
