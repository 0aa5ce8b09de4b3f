"""`harness run --dry-run` refuses invalid suites in one line that names the file, the key and the fix."""

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file, save_file
from transformers import T5Config, T5Model

from harness.cli.app import main
from tests.weaverec.decoders import decoder

#: Limit in CPU seconds of a refusal; wall-clock time would depend on the machine's load.
LIMIT_S = 3.0

RANKER, TARGET_ONLY = "ranker.target-only", "target-only"


def domain(**changes: Any) -> list[dict[str, Any]]:
    """Return the suite's two domains, with changes to the first."""
    keys = {"source": "table", "interactions": "events.csv", "items": "items.csv", "k_core": 1}
    return [{"name": "a", **keys, **changes}, {"name": "b", **keys}]


def scenario(**changes: Any) -> list[dict[str, Any]]:
    return [{"target": "a", "sources": ["b"], **changes}]


def budget(**changes: Any) -> dict[str, Any]:
    return {"trials": 1, "epochs": 1, "patience": 1, **changes}


def settings(method: str, **values: Any) -> dict[str, Any]:
    return {"settings": {method: {name.replace("__", "."): value for name, value in values.items()}}}


VALID: dict[str, Any] = {
    "suite": "mine", "version": 1, "title": "mine", "domains": domain(), "scenarios": scenario(),
    "candidates": ["full"], "methods": ["popularity"], "seeds": [0], "budget": budget(),
}  # fmt: skip

#: Invalid changes to a valid suite, and the expected message after the file's name.
INVALID: list[tuple[dict[str, Any], str]] = [
    # Keys.
    ({"titel": "mine"}, "titel: there is no such key. Did you mean 'title'"),
    ({"setings": {}}, "setings: there is no such key. Did you mean 'settings'"),
    ({"budget": {"trials": 1, "epoch": 1, "patience": 1}}, "budget.epoch: there is no such key. Did you mean 'epochs'"),
    ({"budget": {"trials": 1, "epochs": 1}}, "budget.patience: missing. Add it."),
    ({"scenarios": scenario(candidates=["full"])}, "scenarios.0.candidates: there is no such key. Did you mean"),
    ({"domains": domain(kcore=5)}, "domain 'a': kcore: there is no such key. Did you mean 'k_core'"),
    ({"domains": domain(item="items.csv")}, "domain 'a': item: there is no such key. Did you mean 'items'"),
    ({"domains": [{"name": "a", "dataset": "steam", "kcore": 5}, domain()[1]]}, "domain 'a': 'kcore' is not for"),
    # Types and ranges.
    ({"version": "one"}, 'version: found "one". It should be a valid integer.'),
    ({"version": True}, "version: found true. It should be a valid integer."),
    ({"version": 0}, "version: found 0. It should be greater than or equal to 1."),
    ({"version": 1.5}, "version: found 1.5. It should be a valid integer."),
    ({"title": 3}, "title: found 3. It should be a valid string."),
    ({"suite": "my suite"}, 'suite: found "my suite". It should match pattern'),
    ({"seeds": [-1]}, "seeds.0: found -1. It should be greater than or equal to 0."),
    ({"seeds": []}, "seeds: found []. It should have at least 1 item"),
    ({"seeds": 3}, "seeds: found 3. It should be a valid list."),
    ({"seeds": [0, 0]}, "a seed is listed twice"),
    ({"candidates": ["full", "full"]}, "a candidate set is listed twice"),
    ({"budget": budget(epochs=0)}, "budget.epochs: found 0. It should be greater than or equal to 1."),
    ({"budget": budget(trials=-1)}, "budget.trials: found -1. It should be greater than or equal to 1."),
    ({"budget": budget(patience="5")}, 'budget.patience: found "5". It should be a valid integer.'),
    ({"budget": [1, 1, 1]}, "budget: found [1, 1, 1]. It should be a mapping of keys to values."),
    ({"domains": domain(k_core=0)}, "domains.0.k_core: found 0. It should be greater than or equal to 1."),
    ({"domains": domain(fingerprint="abc")}, 'domains.0.fingerprint: found "abc". It should match pattern'),
    ({"domains": domain(time_unit="hours")}, "Source table: time_unit: "),
    ({"least_recall": 2}, "least_recall: found 2. It should be less than or equal to 1."),
    ({"least_recall": "2e0"}, 'least_recall: found "2e0". It should be less than or equal to 1.'),
    ({"settings": {"markov": 3}}, "settings.markov: found 3. It should be a mapping of keys to values."),
    # Names.
    ({"methods": ["weverec"]}, "methods: Unknown method 'weverec'. Did you mean 'weaverec'"),
    ({"settings": {"markow": {"prior": 1.0}}}, "settings: Unknown method 'markow'. Did you mean 'markov'"),
    (settings("recbole.SASRek", batch=1), "Unknown sequential model of RecBole 'SASRek'. Did you mean 'SASRec'"),
    (settings("ranker.weverec", batch=1), "Unknown method 'weverec'. Did you mean 'weaverec'"),
    ({"candidates": ["full", "sampeld-30"]}, "Unknown candidates 'sampeld-30'"),
    ({"candidates": ["sampled-30"]}, "candidates must include 'full'"),
    ({"split": "temporl"}, "Unknown split 'temporl'. Did you mean 'temporal'?"),
    ({"overlap": "keep"}, "Unknown overlap 'keep'. Did you mean 'kept'?"),
    ({"scenarios": scenario(sources=["c"])}, "Unknown domain 'c'."),
    ({"scenarios": scenario(sources=["a"])}, "names a domain twice"),
    ({"domains": domain(source="tabel")}, "Unknown source 'tabel'. Did you mean 'table'?"),
    # Settings of methods.
    (settings("markov", pror=1.0), "settings.markov.pror: there is no such setting. Did you mean 'prior'?"),
    (settings("markov", prior=0), "settings.markov.prior: found 0. It should be greater than 0."),
    (settings("markov", prior="high"), 'settings.markov.prior: found "high". It should be a valid number.'),
    (settings("popularity", prior=1.0), "settings.popularity: the method takes no settings."),
    (settings("item-knn", neighbours=1.5), "settings.item-knn.neighbours: found 1.5. It should be a valid integer."),
    (settings("item-knn", neighbours=True), "settings.item-knn.neighbours: found true. It should be a valid integer."),
    (settings("item-knn", decay=1.5), "settings.item-knn.decay: found 1.5. It should be less than or equal to 1."),
    (settings("recent-popularity", share="2e-0"), "settings.recent-popularity.share: found 2. It should be less than"),
    (settings("sasrec", learning_rate=-0.1), "settings.sasrec.learning_rate: found -0.1. It should be greater than 0."),
    (settings("sasrec", learning_rate="-1e-3"), "settings.sasrec.learning_rate: found -0.001. It should be greater"),
    (settings("sasrec", learning_rate=None), "settings.sasrec.learning_rate: found null. It should be a valid number."),
    (settings("sasrec", batch=0), "settings.sasrec.batch: found 0. It should be greater than or equal to 1."),
    (settings("sasrec", loss="MSE"), "found \"MSE\". It should be 'CE', 'masked CE', 'BPR' or 'BCE'."),
    (settings("sasrec", max_length=20), "settings.sasrec.stride: found 25. It should be at most max_length, 20"),
    (settings("sasrec", parameters__hiden_size=64), "settings.sasrec.parameters.hiden_size: RecBole's SASRec has no"),
    (settings("sasrec", parameters__hidden_size="64"), 'settings.sasrec.parameters.hidden_size: found "64".'),
    (settings(TARGET_ONLY, rank=0), "settings.target-only.rank: found 0. It should be greater than or equal to 1."),
    (settings(TARGET_ONLY, dropout=1), "settings.target-only.dropout: found 1. It should be less than 1."),
    (settings(TARGET_ONLY, steps="many"), 'settings.target-only.steps: found "many". It should be a valid integer.'),
    (settings(TARGET_ONLY, accumulate=1), "settings.target-only.accumulate: found 1. It should be a valid boolean."),
    (settings(TARGET_ONLY, retriever__dcay=0.5), "settings.target-only.retriever.dcay: there is no such setting. Did"),
    (settings(TARGET_ONLY, retriever=3), "settings.target-only.retriever: found 3. It is a group of settings:"),
    (settings(RANKER, weights="float8"), "settings.ranker.target-only.weights: found \"float8\". It should be"),
    (settings(RANKER, answer="titles"), "settings.ranker.target-only.answer: found \"titles\". It should be"),
    (settings(RANKER, prompt__candidates=1), "settings.ranker.target-only.prompt.candidates: found 1. It should be"),
]  # fmt: skip

#: Invalid paths and backbones; the folder `models` is beside the suite's file.
INVALID_FILES: list[tuple[dict[str, Any], str]] = [
    ({"domains": domain(data_dir="nowhere")}, "No file nowhere/events.csv. Fetch it, or name its folder"),
    ({"domains": domain(interactions="evnts.csv")}, "No file evnts.csv. Fetch it, or name its folder"),
    *(
        ({"methods": [method], **settings(method, **values)}, f"mine.yaml: settings.{method}: The backbone {message}")
        for method, values, message in (
            (TARGET_ONLY, {"backbone": "./models/missing"}, "'./models/missing' is no folder: models/missing."),
            (TARGET_ONLY, {"backbone": "models/complete/model.safetensors"}, "'models/complete/model.safetensors' is"),
            (TARGET_ONLY, {"backbone": "minlm"}, "'minlm' is no folder: minlm. Did you mean 'minilm'?"),
            (TARGET_ONLY, {"backbone": "models/empty"}, "empty in models/empty has no readable config.json."),
            (TARGET_ONLY, {"backbone": "models/no-weights"}, "no-weights in models/no-weights has no weights"),
            (TARGET_ONLY, {"backbone": "models/truncated"}, "truncated in models/truncated has a damaged or truncated"),
            (TARGET_ONLY, {"backbone": "models/one-layer"}, "one-layer in models/one-layer lacks 12 of the model's"),
            (TARGET_ONLY, {"backbone": "models/t5"}, "t5 is of the kind 't5', neither an encoder nor a decoder-only"),
            (TARGET_ONLY, {"backbone": "models/no-tokenizer"}, "no-tokenizer in models/no-tokenizer has no tokenizer"),
            (RANKER, {"backbone": "minilm"}, "sentence-transformers/all-MiniLM-L6-v2 is an encoder"),
            (RANKER, {"backbone": "models/complete", "retriever_backbone": "models/t5"}, "t5 is of the kind 't5'"),
        )
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data of two small domains and several backbones."""
    folder = tmp_path_factory.mktemp("suite")
    events = [f"u{user},i{(user + step) % 9},{10 * user + step}" for user in range(12) for step in range(6)]
    (folder / "events.csv").write_text("\n".join(["user_id,item_id,timestamp", *events]))
    (folder / "items.csv").write_text("\n".join(["item_id,title", *(f"i{item},film {item}" for item in range(9))]))
    models = folder / "models"
    complete = decoder("qwen2", models / "complete").folder
    for name in ("no-weights", "truncated", "one-layer", "no-tokenizer"):
        shutil.copytree(complete, models / name)
    (models / "empty").mkdir()
    (models / "no-weights" / "model.safetensors").unlink()
    (models / "truncated" / "model.safetensors").write_bytes((complete / "model.safetensors").read_bytes()[:5000])
    tensors = load_file(complete / "model.safetensors")
    one_layer = {name: tensor for name, tensor in tensors.items() if "layers.1" not in name}
    save_file(one_layer, models / "one-layer" / "model.safetensors", metadata={"format": "pt"})
    for path in (models / "no-tokenizer").glob("token*"):
        path.unlink()
    T5Model(T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=400)).save_pretrained(
        models / "t5"
    )
    return folder


@pytest.fixture
def dry_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[dict[str, Any]], tuple[int, str, str]]:
    """Run `harness run --dry-run` on a changed suite; return exit code, standard output and standard error."""
    monkeypatch.chdir(folder)

    def run(changes: dict[str, Any]) -> tuple[int, str, str]:
        (folder / "mine.yaml").write_text(yaml.safe_dump({**VALID, **changes}))
        monkeypatch.setattr(sys, "argv", ["harness", "run", "--suite", "mine.yaml", "--dry-run", "--json"])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    # Import everything first, so that the time limit does not include imports.
    run({"methods": ["target-only", "sasrec"]})
    return run


@pytest.mark.parametrize(("changes", "message"), INVALID, ids=[message[:50] for _, message in INVALID])
def test_invalid_suites_are_refused_before_data_are_read(dry_run, changes, message) -> None:
    started = time.process_time()
    code, _, err = dry_run(changes)
    assert time.process_time() - started < LIMIT_S
    assert code == 2
    assert err.startswith("harness: mine.yaml: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(("changes", "message"), INVALID_FILES, ids=[message[:60] for _, message in INVALID_FILES])
def test_invalid_paths_and_backbones_are_refused(dry_run, changes, message) -> None:
    started = time.process_time()
    code, _, err = dry_run(changes)
    assert time.process_time() - started < LIMIT_S
    assert (code, message in err) == (2, True), err
    lines = [line for line in err.splitlines() if line.startswith("harness: ")]
    assert len(lines) == 1


def test_a_valid_suite_is_planned(dry_run) -> None:
    changes = {"methods": [TARGET_ONLY, RANKER], "settings": {TARGET_ONLY: {"backbone": "models/complete", "rank": 2}}}
    changes["settings"][RANKER] = {"backbone": "./models/complete", "learning_rate": "1e-3"}
    code, out, err = dry_run(changes)
    assert code == 0, err
    assert json.loads(out)["missing"] == ["a-from-b/target-only-seed0", "a-from-b/ranker.target-only-seed0"]


def test_methods_with_missing_files_are_skipped_with_the_reason(dry_run) -> None:
    methods = ["popularity", "target-only"]
    code, out, err = dry_run({"methods": methods, **settings("target-only", backbone="nobody/has-this")})
    assert code == 0, err
    plan = json.loads(out)
    assert plan["missing"] == ["a-from-b/popularity-seed0"]
    assert "hf download nobody/has-this" in plan["skipped"]["a-from-b/target-only-seed0"]
    code, _, err = dry_run({"methods": methods[1:], **settings("target-only", backbone="nobody/has-this")})
    assert (code, "No requested run can be made here" in err) == (2, True)
