"""Boards as long tables and as LaTeX."""

import csv
import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.cli import app as cli
from harness.report.board_rows import board_rows, rows_csv
from harness.report.comparison import compare
from harness.report.latex import latex
from harness.report.leaderboard import leaderboard
from harness.results.files import read_result
from tests.harness.report.boards import SCENARIOS, made_board
from tests.harness.report.test_leaderboard import cells

METRICS = ("ndcg@10", "hr@7")


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run `harness leaderboard`; return its exit code and what it prints."""
    monkeypatch.setattr(sys, "argv", ["harness", "leaderboard", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def test_every_figure_has_one_row_with_its_mean_from_the_ranks(tmp_path: Path) -> None:
    board = made_board(tmp_path)
    rows = list(board_rows(board, METRICS))
    keys = [(row.scenario, row.method, row.candidates, row.slice, row.metric) for row in rows]
    # cold_items is empty
    assert len(set(keys)) == len(keys) == len(SCENARIOS) * 3 * 2 * 4 * len(METRICS)
    for row in rows:
        parts = []
        for path in (tmp_path / "made" / "v1" / row.scenario).glob(f"{row.method}-seed*.json"):
            _, table = read_result(path)
            ranks = table.ranks[row.candidates].above[table.slices[row.slice]] + 1
            gains = ranks <= 7 if row.metric == "hr@7" else (ranks <= 10) / np.log2(ranks + 1)
            parts.append(np.mean(gains))
            assert row.users == len(ranks)
        assert row.mean == pytest.approx(np.mean(parts), abs=1e-12)
        assert row.seeds == 2
        assert row.low <= row.mean <= row.high
        assert row.low < row.high or row.mean in (0, 1)
        assert row.interval_over == "seeds and users"
        assert (row.reference is None) == (row.method == "base")


def test_gains_are_differences_to_the_reference(tmp_path: Path) -> None:
    rows = {
        (row.scenario, row.method, row.candidates, row.slice, row.metric): row
        for row in board_rows(made_board(tmp_path), METRICS)
    }
    for (scenario, method, *rest), row in rows.items():
        if method != "base":
            assert row.gain == pytest.approx(row.mean - rows[scenario, "base", *rest].mean)
            assert row.gain_low < row.gain < row.gain_high or row.gain == 0


def test_rows_are_those_of_the_page(tmp_path: Path) -> None:
    board = made_board(tmp_path)
    rows = {(r.scenario, r.method, r.candidates, r.slice, r.metric): r for r in board_rows(board, METRICS)}
    text = leaderboard(board)
    for scenario in board.scenarios:
        for method, row in cells(text, f"{scenario}: full catalogue, all users").items():
            figure = rows[scenario, method, "full", "all", "ndcg@10"]
            assert row["NDCG@10"].strip("*†") == f"{figure.mean:.4f} ± {figure.high - figure.mean:.4f}"
            assert row["NDCG@10, sampled-30"] == f"{rows[scenario, method, 'sampled-30', 'all', 'ndcg@10'].mean:.4f}"
            if method != "base":
                assert row["gain over base"] == f"{figure.gain:+.4f} ± {figure.gain_high - figure.gain:.4f}"
        for method, row in cells(text, f"{scenario}: NDCG@10, full catalogue, by slice").items():
            for name, value in list(row.items())[1:]:
                assert value == f"{rows[scenario, method, 'full', name.replace(' ', '_'), 'ndcg@10'].mean:.4f}"


def test_a_page_by_another_metric_is_ordered_by_it(tmp_path: Path) -> None:
    board = made_board(tmp_path)
    text = leaderboard(board, "hr@7")
    scenario = next(iter(board.scenarios))
    rows = cells(text, f"{scenario}: full catalogue, all users")
    means = [float(row["HR@7"][:6]) for row in rows.values()]
    assert means == sorted(means, reverse=True)
    comparison = compare(board.scenarios[scenario], metric="hr@7")
    assert means[0] == pytest.approx(comparison.values.mean(axis=(1, 2)).max(), abs=5e-5)
    assert "NDCG@10" in rows["base"]
    assert f"### {scenario}: HR@7, full catalogue, by slice" in text
    assert "## Overview: HR@7, full catalogue, all users, mean over scenarios" in text
    assert "## Transfer" not in text


def test_with_one_seed_intervals_are_over_users(tmp_path: Path) -> None:
    rows = board_rows(made_board(tmp_path, seeds=(0,)), METRICS)
    assert {row.interval_over for row in rows} == {"users"}


def test_csv_and_json_hold_the_same_full_precision(tmp_path: Path, monkeypatch, capsys) -> None:
    board = made_board(tmp_path / "results")
    where = ("--output-dir", str(tmp_path), "--suite", "made", "--metric", "ndcg@10", "--metric", "hr@7")
    expected = list(board_rows(board, METRICS))
    code, out, err = run(monkeypatch, capsys, *where, "--format", "csv")
    assert (code, err) == (0, "")
    assert out == rows_csv(iter(expected))
    table = list(csv.DictReader(io.StringIO(out)))
    assert [float(row["mean"]) for row in table] == [row.mean for row in expected]
    code, out, _ = run(monkeypatch, capsys, *where, "--format", "json")
    content = json.loads(out)
    assert (code, content["suite"], content["reference"]) == (0, "made", "base")
    assert [row["high"] for row in content["rows"]] == [row.high for row in expected]
    assert list(content["rows"][0]) == list(table[0])
    # Nothing is written.
    assert not list(tmp_path.glob("*.md"))


def test_latex_has_booktabs_bold_marks_and_escapes(tmp_path: Path) -> None:
    text = latex(made_board(tmp_path), "ndcg@10")
    tables = re.findall(r"\\begin\{table\}.*?\\end\{table\}", text, re.DOTALL)
    assert len(tables) == 2 + 2 * len(SCENARIOS)
    for table in tables:
        assert [table.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
        columns = re.search(r"\\begin\{tabular\}\{(l r*|lr*)\}", table)[1]
        lines = [line for line in table.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in lines} == {len(columns)}
        assert r"one\_more" in table
        assert not re.search(r"(?<!\\)[_%#]", table)
        assert "±" not in table
        assert "†" not in table
    main = next(table for table in tables if "drama-from-action: full catalogue" in table)
    assert r"\textbf{base} & \textbf{0." in main
    assert r"$\pm$ 0." in main
    assert r"& $-$0." in main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "csv"), "No suite is named. Add --suite made."),
        (("--format", "csv", "--suite", "mad"), "Did you mean 'made'?"),
        (("--suite", "made/v3", "--format", "json"), "Unknown version with results of suite made 'v3'"),
        (("--suite", "made", "--metric", "hr"), "Metric 'hr' has no cutoff. Write it as in ndcg@10."),
        (("--suite", "made", "--metric", "hrr@10"), "Unknown metric 'hrr'. Did you mean 'hr'"),
        (("--suite", "made", "--metric", "coverage@10"), "coverage@10 is a metric of lists, and orders no rows."),
        (("--suite", "made", "--metric", "hr@1", "--metric", "hr@2"), "A board in markdown is by one metric."),
        (("--suite", "made", "--metric", "hr@1", "--check"), "Leave out --check and --readme."),
    ],
)
def test_wrong_options_are_refused_in_one_line(tmp_path: Path, monkeypatch, capsys, arguments, message) -> None:
    made_board(tmp_path / "results", seeds=(0,))
    code, out, err = run(monkeypatch, capsys, "--output-dir", str(tmp_path), *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
