"""Commands that run, plan and tune suites: in subprocesses, and errors in this process."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harness.cli import app as cli
from harness.results.files import read_result
from tests.weaverec.decoders import decoder

SUITE = """
suite: tiny
version: 1
title: tiny
domains:
  - {name: action, dataset: movielens-100k-action, k_core: 30}
  - {name: comedy, dataset: movielens-100k-comedy, k_core: 30}
scenarios:
  - {target: action, sources: [comedy]}
methods: [popularity]
seeds: [0, 1]
budget: {trials: 1, epochs: 1, patience: 1}
"""


#: A method that prints while it trains.
LOUD = """
import os
from harness.methods.api import NoSettings
from baselines.popularity import Popularity

class Loud:
    settings = NoSettings()
    reference = None

    def learns_from(self, target, sources):
        return (target,)

    def fit(self, data, context):
        print("a print", flush=True)
        os.write(1, b"a system call")
        return Popularity().fit(data, context)
"""


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the suite file `tiny.yaml`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(SUITE)
    return tmp_path


def harness(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    """Run a command in this process; return its exit code, standard output and standard error."""
    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def start(workdir: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "harness.cli", *arguments]
    return subprocess.Popen(
        command,
        cwd=workdir,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # Background jobs may ignore SIGINT, and child processes inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_run_repeats_restores_and_checks_results(workdir: Path, monkeypatch, capsys) -> None:
    first = start(workdir, "run", "--suite", "tiny.yaml")
    out, err = first.communicate(timeout=200)
    assert (first.returncode, err) == (0, "")
    assert "2 to be made" in out
    assert "| **popularity** |" in out
    board = workdir / "leaderboards" / "tiny-v1.md"
    text = board.read_bytes()
    results = sorted((workdir / "leaderboards" / "results").rglob("*.*"))
    assert len(results) == 8  # two results with ranks and lists, their users and items

    code, out, _ = harness(monkeypatch, capsys, "run", "--suite", "tiny.yaml", "--json")
    assert code == 0
    done = json.loads(out)
    assert done["missing"] == []
    assert (done["failed"], done["leaderboard"]) == ({}, "leaderboards/tiny-v1.md")
    assert [(run["scenario"], run["method"], run["seed"]) for run in done["results"]] == [
        ("action-from-comedy", "popularity", seed) for seed in (0, 1)
    ]
    for run in done["results"]:
        _, table = read_result(Path(run["result"]))
        assert run["metrics"] == {name: table.metrics(name) for name in table.ranks}
        assert all(Path(run[name]).is_file() for name in ("ranks", "lists", "users"))
    assert board.read_bytes() == text
    code, out, _ = harness(monkeypatch, capsys, "leaderboard", "--check")
    assert (code, out) == (0, "leaderboards/tiny-v1.md: as its results give\n")

    # --missing skips runs whose results exist, even with an empty cache.
    missing_only = ("run", "--suite", "tiny.yaml", "--missing", "--json")
    code, out, _ = harness(monkeypatch, capsys, *missing_only, "--dry-run", "--cache-dir", "empty")
    assert (code, json.loads(out)["runs"], json.loads(out)["missing"]) == (0, 0, [])
    code, out, _ = harness(monkeypatch, capsys, *missing_only)
    assert (code, json.loads(out)["runs"]) == (0, 0)
    assert board.read_bytes() == text
    deleted = next(path for path in results if path.suffix == ".json")
    for suffix in (".json", ".parquet", ".lists.parquet"):
        deleted.with_suffix(suffix).unlink()
    code, out, _ = harness(monkeypatch, capsys, *missing_only)
    assert (code, json.loads(out)["runs"]) == (0, 1)
    assert board.read_bytes() == text

    board.write_text(board.read_text().replace("0.0", "0.1"))
    code, out, _ = harness(monkeypatch, capsys, "leaderboard", "--check")
    assert (code, "differs" in out) == (1, True)
    assert harness(monkeypatch, capsys, "leaderboard")[0] == 0
    assert board.read_bytes() == text

    # A damaged result is restored from the cache; a damaged cache entry is refused.
    results[0].write_bytes(b"")
    code, _, err = harness(monkeypatch, capsys, "leaderboard")
    assert (code, str(results[0].relative_to(workdir)) in err) == (2, True)
    assert harness(monkeypatch, capsys, "run", "--suite", "tiny.yaml")[0] == 0
    assert board.read_bytes() == text
    ranks_file = next((workdir / ".harness" / "store" / "run").glob("*/ranks.parquet"))
    ranks_file.write_bytes(b"")
    code, _, err = harness(monkeypatch, capsys, "run", "--suite", "tiny.yaml")
    assert code == 2
    assert "Corrupt cached artefact" in err
    assert "Delete that folder" in err
    assert err.count("\n") == 1
    shutil.rmtree(ranks_file.parent)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--suite", "cdrs"], "Unknown suite 'cdrs'. Did you mean 'cdsr'"),
        (["run", "--suite", "no.yaml"], "Cannot read the suite file no.yaml"),
        (["run", "--suite", "tiny.yaml", "--method", "weverec"], "Unknown method 'weverec'. Did you mean 'weaverec'"),
        (
            ["run", "--suite", "tiny.yaml", "--scenario", "action-from-comdy"],
            "Did you mean 'action-from-comedy'",
        ),
        (["run", "--suite", "tiny.yaml", "--device", "gpu"], "Unknown device 'gpu'"),
        (["run", "--suite", "tiny.yaml", "--output-dir", "tiny.yaml"], "Cannot write to tiny.yaml"),
        (["run", "--suite", "tiny.yaml", "--cache-dir", "tiny.yaml/x"], "Cannot write to tiny.yaml/x"),
        (["leaderboard"], "No results in leaderboards/results"),
        (["leaderboard", "--suite", "tiny"], "No results of suite 'tiny'"),
    ],
)
def test_bad_input_gives_a_one_line_error_and_exit_code_2(
    workdir: Path, monkeypatch, capsys, arguments, message
) -> None:
    code, _, err = harness(monkeypatch, capsys, *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert not (workdir / "leaderboards" / "tiny-v1.md").exists()


@pytest.mark.parametrize(
    ("line", "replacement", "message"),
    [
        ("version: 1", "version: one", "tiny.yaml: version: "),
        ("sources: [comedy]", "sources: [comdy]", "Unknown domain 'comdy'. Did you mean 'comedy'"),
        ("sources: [comedy]", "sources: [action]", "names a domain twice"),
        ("dataset: movielens-100k-action", "source: movielens, part: action", "Unknown source"),
        ("suite: tiny", "suite: cdsr", "is the name of a shipped suite"),
        ("title: tiny", "titel: tiny", "tiny.yaml: titel: there is no such key. Did you mean 'title'"),
        ("budget: {", "budget: [", "not valid YAML"),
        ("seeds: [0, 1]", "seeds: [0, 0]", "a seed is listed twice"),
        ("methods: [popularity]", "methods: [popularity]\ncandidates: [sampled-30]", "must include 'full'"),
        ("methods: [popularity]", "methods: [popularity]\ncandidates: [full, some]", "Unknown candidates 'some'"),
        ("methods: [popularity]", "methods: [popularity]\nsplit: temporl", "Did you mean 'temporal'?"),
        ("methods: [popularity]", "methods: [popularity]\noverlap: some", "Unknown overlap 'some'"),
        ("sources: [comedy]}", "sources: [comedy], split: by-time}", "Unknown split 'by-time'"),
        ("dataset: movielens-100k-action", "dataset: movielens-100k-akction", "Did you mean 'movielens-100k-action'"),
        ("dataset: movielens-100k-action, ", "", "must have either a dataset or a source"),
        ("k_core: 30}", "k_core: 30, part: action}", "'part' is not for a domain with a dataset"),
        (
            "dataset: movielens-100k-action",
            "source: table, interactions: a.csv, itemz: b.csv",
            "Did you mean 'items'",
        ),
        ("k_core: 30}", "k_core: 30, fingerprint: " + "f" * 64 + "}", "has the fingerprint"),
        ("k_core: 30}", "k_core: 3000}", "no interaction is left by the 3000-core"),
    ],
)
def test_a_bad_suite_file_gives_a_one_line_error(
    workdir: Path, monkeypatch, capsys, line, replacement, message
) -> None:
    assert line in SUITE
    (workdir / "tiny.yaml").write_text(SUITE.replace(line, replacement, 1))
    code, _, err = harness(monkeypatch, capsys, "run", "--suite", "tiny.yaml")
    assert (code, message in err, err.count("\n")) == (2, True, 1), err


def test_an_output_folder_without_permission_is_refused(workdir: Path, monkeypatch, capsys) -> None:
    def raise_permission_error(**_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    # Permission bits would not stop root.
    monkeypatch.setattr("harness.storage.files.tempfile.TemporaryFile", raise_permission_error)
    code, _, err = harness(monkeypatch, capsys, "run", "--suite", "tiny.yaml", "--output-dir", "locked")
    assert (code, "Cannot write to locked" in err) == (2, True)


def test_debug_raises_the_error_with_its_traceback(workdir: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["harness", "run", "--suite", "cdrs", "--debug"])
    monkeypatch.setenv("HARNESS_DEBUG", "")  # so that the value set by the command is undone
    with pytest.raises(cli.HarnessError):
        cli.main()


def test_json_stands_alone_on_the_standard_output(workdir: Path) -> None:
    (workdir / "loud.py").write_text(LOUD)
    run = start(workdir, "run", "--suite", "tiny.yaml", "--method", "./loud.py:Loud", "--json", "--jobs", "1")
    out, err = run.communicate(timeout=200)
    assert run.returncode == 0, err
    assert len(json.loads(out)["results"]) == 2
    assert err.count("a print") == 2
    assert err.count("a system call") == 2


def test_dry_run_prints_the_plan_and_writes_nothing(workdir: Path, monkeypatch, capsys) -> None:
    arguments = ["run", "--suite", "tiny.yaml", "--method", "weaverec", "--seed", "3", "--dry-run", "--json"]
    code, out, _ = harness(monkeypatch, capsys, *arguments)
    plan = json.loads(out)
    assert (code, plan["missing"]) == (0, ["action-from-comedy/weaverec-seed3"])
    assert plan["trained"] == ["LoRA on action, seed 3", "LoRA on action + comedy, seed 3"]
    assert not (workdir / "leaderboards").exists()


def test_ls_lists_suites_and_methods(monkeypatch, capsys) -> None:
    code, out, _ = harness(monkeypatch, capsys, "ls", "--json")
    listing = json.loads(out)
    assert code == 0
    assert "drama-from-action+comedy" in listing["suites"]["cdsr"]
    assert {"weaverec", "joint", "naive-merge", "target-only", "zero-shot"} <= set(listing["methods"])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_leaves_no_processes_or_partial_files(workdir: Path, number: signal.Signals, code: int) -> None:
    run = start(workdir, "run", "--suite", "tiny.yaml", "--method", "target-only", "--cache-dir", "kept")
    lora = workdir / "kept" / "store" / "lora"
    deadline = time.monotonic() + 100
    while not (lora.is_dir() and any(lora.iterdir())):  # until the training of a component starts
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    workers = psutil.Process(run.pid).children(recursive=True)
    if number == signal.SIGINT:
        os.killpg(run.pid, number)  # as a terminal does
    else:
        run.send_signal(number)
    _, err = run.communicate(timeout=60)
    assert run.returncode == code
    if number == signal.SIGINT:
        assert "Interrupted. What is finished is kept" in err
        assert err.count("\n") == 1
    psutil.wait_procs(workers, timeout=20)
    assert not [w for w in workers if w.is_running()]
    assert not list(lora.glob(".*"))  # a component that was just finished may stay
    assert not (workdir / "leaderboards" / "results").exists()
    assert not list(workdir.rglob(".*.json.*"))


def test_a_failed_method_gives_one_line_with_its_cause(workdir: Path, monkeypatch, capsys) -> None:
    suite = SUITE.replace("[popularity]", "[popularity, recbole.S3Rec]")
    (workdir / "tiny.yaml").write_text(suite)
    run = start(workdir, "run", "--suite", "tiny.yaml")
    _, err = run.communicate(timeout=200)
    assert run.returncode == 1
    assert "RecBole's S3Rec is trained in two stages" in err
    assert err.count("\n") == 3  # one line per seed, and a hint


def test_help_has_examples_and_imports_nothing_slow() -> None:
    out = subprocess.run(
        [sys.executable, "-m", "harness.cli", "run", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "harness run --suite cdsr --dry-run" in out
    code = "import sys, harness.cli; print({'torch', 'pandas', 'recbole'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_a_run_uses_tuned_settings(workdir: Path, monkeypatch, capsys) -> None:
    (workdir / "tiny.yaml").write_text(SUITE.replace("trials: 1", "trials: 3"))
    code, out, _ = harness(monkeypatch, capsys, "tune", "--suite", "tiny.yaml", "--method", "item-knn", "--dry-run")
    assert (code, (workdir / "tiny.tuned").exists()) == (0, False)
    assert "tune item-knn on action" in out
    code, out, _ = harness(monkeypatch, capsys, "tune", "--suite", "tiny.yaml", "--method", "item-knn", "--json")
    (tuning,) = json.loads(out)["tuned"].values()
    assert (code, len(tuning["trials"])) == (0, 3)
    code, out, _ = harness(monkeypatch, capsys, "run", "--suite", "tiny.yaml", "--method", "item-knn", "--seed", "0")
    assert code == 0
    (result,) = (workdir / "leaderboards" / "results").rglob("item-knn-seed0.json")
    assert json.loads(result.read_text())["tuning"] == tuning
    code, out, _ = harness(monkeypatch, capsys, "tune", "--suite", "tiny.yaml", "--method", "item-knn")
    assert (code, "0 to tune, 1 tuned before" in out) == (0, True)


def test_tune_refuses_a_budget_of_one_trial(workdir: Path, monkeypatch, capsys) -> None:
    code, _, err = harness(monkeypatch, capsys, "tune", "--suite", "tiny.yaml")
    assert code == 2
    assert "has one trial, which is every method's defaults" in err


def test_plan_estimates_trainings_without_starting_them(workdir: Path, monkeypatch, capsys) -> None:
    arguments = ["plan", "--suite", "tiny.yaml", "--method", "target-only", "--method", "sasrec", "--seed", "0"]
    code, out, err = harness(monkeypatch, capsys, *arguments, "--json")
    assert (code, err) == (0, "")
    plan = json.loads(out)
    assert sorted(plan["trained"]) == ["LoRA on action, seed 0", "SASRec on action, seed 0"]
    (estimate,) = plan["estimates"]  # RecBole's models are not estimated
    assert estimate["label"] == "LoRA on action, seed 0"
    assert plan["scoring"] == []
    assert estimate["tokens"] > 0
    assert estimate["hours"] > 0
    code, out, _ = harness(monkeypatch, capsys, *arguments)
    assert code == 0
    assert "| together" in out
    assert not (workdir / ".harness" / "store" / "lora").exists()


def test_plan_adds_further_methods_on_request(workdir: Path, monkeypatch, capsys) -> None:
    (workdir / "tiny.yaml").write_text(f"{SUITE}more_methods: [markov]\n")
    arguments = ["plan", "--suite", "tiny.yaml", "--seed", "0", "--json"]
    for options, methods in (([], ["popularity"]), (["--all"], ["popularity", "markov"])):
        _, out, _ = harness(monkeypatch, capsys, *arguments, *options)
        assert json.loads(out)["missing"] == [f"action-from-comedy/{method}-seed0" for method in methods]


def test_a_backbone_without_weights_is_planned_but_refused_before_a_run(workdir: Path, monkeypatch, capsys) -> None:
    for weights in decoder("qwen2", workdir / "qwen").folder.glob("*.safetensors"):
        weights.unlink()
    (workdir / "tiny.yaml").write_text(SUITE + "settings: {ranker.target-only: {backbone: qwen}}\n")
    # Item-kNN would run first.
    arguments = ["--suite", "tiny.yaml", "--method", "item-knn", "--method", "ranker.target-only", "--seed", "0"]
    code, out, _ = harness(monkeypatch, capsys, "plan", *arguments)
    assert code == 0
    assert re.search(r"\| ranking LoRA on action, seed 0 +\|", out)
    assert "| scoring ranker.target-only on action-from-comedy, seed 0 |" in out
    assert "Before a run: tiny.yaml: settings.ranker.target-only: The backbone qwen in qwen has no weights" in out
    code, _, err = harness(monkeypatch, capsys, "run", *arguments)
    assert code == 2
    assert "tiny.yaml: settings.ranker.target-only: The backbone qwen in qwen has no weights" in err
    assert not list((workdir / "leaderboards").rglob("*.json"))
    assert not (workdir / ".harness" / "store" / "run").exists()


@pytest.mark.parametrize("command", [["plan"], ["diagnose"], ["export", "model"]], ids=lambda command: command[0])
def test_a_retired_suite_is_refused(workdir: Path, monkeypatch, capsys, command: list[str]) -> None:
    (workdir / "tiny.yaml").write_text(f"{SUITE}retired: another version is better.\n")
    scenario = [] if command == ["plan"] else ["--scenario", "action-from-comedy", "--method", "popularity"]
    code, _, err = harness(monkeypatch, capsys, *command, "--suite", "tiny.yaml", *scenario)
    assert code == 2
    assert err.startswith("harness: tiny/v1 is retired: another version is better. ")
