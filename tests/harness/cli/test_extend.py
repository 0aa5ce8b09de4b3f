"""`harness check-method`: one line a check, JSON, and exit codes."""

import json
import sys
from pathlib import Path

import pytest

from harness.cli.app import main

BAD = """
import numpy as np
from harness.methods.api import NoSettings


class BadMethod:
    settings = NoSettings()

    def fit(self, data, context):
        return self

    def score(self, histories, candidates):
        return np.zeros((len(histories), 3))
"""


def harness(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def test_an_installed_method_passes(monkeypatch, capsys) -> None:
    code, out, err = harness(monkeypatch, capsys, "check-method", "markov", "--device", "cpu")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines if "vectors" not in line] == ["passed"] * (len(lines) - 1)
    assert any(line.startswith("skipped  vectors ") and "nothing can be retrieved" in line for line in lines)


def test_a_failed_check_is_exit_code_1(tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "a_bad_method.py").write_text(BAD)
    monkeypatch.chdir(tmp_path)
    code, out, _ = harness(
        monkeypatch, capsys, "check-method", "a_bad_method.py:BadMethod", "--device", "cpu", "--json"
    )
    assert code == 1
    result = json.loads(out)
    assert result["method"] == "a_bad_method.BadMethod"
    checks = {check["name"]: check for check in result["checks"]}
    assert checks["shapes"]["outcome"] == "failed"
    assert "[60, 3]" in checks["shapes"]["reason"]
    assert checks["batches"]["outcome"] == "skipped"


def test_a_variant_of_a_suite_is_checked(tmp_path: Path, monkeypatch, capsys) -> None:
    text = Path("harness/suites/cdsr-smoke/v1.yaml").read_text().replace("suite: cdsr-smoke", "suite: mine")
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("methods: [", "methods: [{name: far, method: item-knn, settings: {decay: 0.5}}, "))
    code, _, _ = harness(monkeypatch, capsys, "check-method", "far", "--suite", str(path), "--device", "cpu")
    assert code == 0


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("markow", "Unknown method 'markow'. Did you mean 'markov'?"),
        ("./nothing.py:Markov", "there is no file"),
    ],
)
def test_a_user_s_error_is_exit_code_2(method: str, message: str, monkeypatch, capsys) -> None:
    code, out, err = harness(monkeypatch, capsys, "check-method", method)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
