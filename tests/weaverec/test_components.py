"""Components and the methods made of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel

from baselines import language_models
from harness.data.prepare import prepare
from harness.method import FitContext
from harness.protocol.scenario import Budget
from harness.protocol.split import LeaveOneOut, TrainingData
from harness.run.artefacts import RunArtefacts, artefact_key
from harness.run.store import Store
from tests.conftest import toy_raw
from weaverec.adapters import ComponentSettings, _prefixes, _schedule, component
from weaverec.averaging import ComponentAverage
from weaverec.backbone import load, packaged_minilm
from weaverec.merge import task_vector
from weaverec.weaverec import weaverec

BUDGET = Budget(trials=1, epochs=5, patience=5)
QUICK = ComponentSettings(steps=3, batch=40, validate_every=2)


def data(target: str = "a", sources: tuple[str, ...] = ("b", "c")) -> TrainingData:
    names = {name: i for i, name in enumerate("abc")}
    parts = {n: LeaveOneOut().training(prepare(toy_raw(n, i, 12, 15), 1)) for n, i in names.items()}
    return TrainingData(target, sources, {name: parts[name] for name in (target, *sources)})


def labels(method) -> list[str]:
    return [a.label.removeprefix("LoRA on ").removesuffix(", seed 0") for a in method.artefacts(data(), BUDGET, 0)]


def test_each_method_is_its_mixes() -> None:
    assert labels(language_models.zero_shot()) == []
    assert labels(language_models.target_only()) == ["a"]
    assert labels(language_models.joint()) == ["a + b + c"]
    assert labels(language_models.naive_merge()) == ["a", "b", "c"]
    assert labels(weaverec()) == ["a", "a + b", "a + c"]


def test_a_hybrid_is_one_artefact_for_both_its_domains() -> None:
    there = component(data("a", ("b",)), ("a", "b"), QUICK, BUDGET, 0)
    back = component(data("b", ("a",)), ("b", "a"), QUICK, BUDGET, 0)
    assert artefact_key(there) == artefact_key(back)
    assert there.label == back.label


@pytest.mark.parametrize("change", ["seed", "settings", "budget", "mix"])
def test_whatever_decides_the_content_is_in_the_key(change: str) -> None:
    base = component(data(), ("a", "b"), QUICK, BUDGET, 0)
    other = {
        "seed": lambda: component(data(), ("a", "b"), QUICK, BUDGET, 1),
        "settings": lambda: component(data(), ("a", "b"), ComponentSettings(), BUDGET, 0),
        "budget": lambda: component(data(), ("a", "b"), QUICK, Budget(1, 6, 5), 0),
        "mix": lambda: component(data(), ("a", "c"), QUICK, BUDGET, 0),
    }[change]()
    assert artefact_key(base) != artefact_key(other)


def test_the_stopping_rule_s_code_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("harness.run.artefacts.source_digest", lambda *modules: asked.extend(modules) or "x")
    artefact_key(component(data(), ("a", "b"), QUICK, BUDGET, 0))
    assert {"weaverec", "harness.selection", "harness.data", "harness.protocol", "harness.evaluate"} <= set(asked)


def make(folder: Path, mix: tuple[str, ...] = ("a", "b"), seed: int = 0):
    folder.mkdir()
    return component(data(), mix, QUICK, BUDGET, seed).make(folder, "cpu", lambda *_: None)


def test_the_same_seed_gives_the_same_component(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    first, again = make(tmp_path / "1"), make(tmp_path / "2")
    assert first == again
    file = "adapter_model.safetensors"
    assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "2" / file).read_bytes()


def test_a_component_is_peft_s_own_format_and_names_no_local_path(tmp_path: Path) -> None:
    record = make(tmp_path / "c")
    config = json.loads((tmp_path / "c" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    base, _ = load(packaged_minilm())
    loaded = PeftModel.from_pretrained(base, tmp_path / "c")
    assert record.trainable_parameters == sum(p.numel() for n, p in loaded.named_parameters() if "lora_" in n)
    assert any(v.abs().max() > 0 for v in task_vector(tmp_path / "c").values())


def test_a_batch_is_of_one_domain_and_an_epoch_takes_each_prefix_once() -> None:
    rng = np.random.default_rng(0)
    prefixes = [np.arange(100), np.arange(1000, 1050)]
    batches = _schedule(prefixes, batch=20, steps=8, rng=rng)  # 5 + 3 batches: one epoch
    for which, own in enumerate(prefixes):
        taken = np.concatenate([events for domain, events in batches if domain == which])
        assert sorted(taken) == list(own)


def test_prefixes_are_capped_and_never_a_user_s_first_event() -> None:
    domain = data().domains["a"]
    everything = _prefixes(domain, 10**6, 0)
    assert len(everything) == len(domain.train.items) - len(domain.train)
    assert not set(everything) & set(domain.train.offsets[:-1])
    capped = _prefixes(domain, 10, 0)
    assert len(capped) == 10
    assert set(capped) <= set(everything)


def test_fit_merges_what_the_store_has(tmp_path: Path) -> None:
    artefacts = RunArtefacts(Store(tmp_path), "cpu", lambda *_: None)
    method = ComponentAverage(mixes=lambda target, _: [(target,), (target, "b")], settings=QUICK)
    scorer = method.fit(data(), FitContext(BUDGET, 0, "cpu", artefacts))
    assert [record.label for record in artefacts.records] == ["LoRA on a, seed 0", "LoRA on a + b, seed 0"]
    again = method.fit(data(), FitContext(BUDGET, 0, "cpu", RunArtefacts(Store(tmp_path), "cpu", lambda *_: None)))
    np.testing.assert_array_equal(scorer.item_vectors(), again.item_vectors())
    np.testing.assert_allclose(np.linalg.norm(scorer.item_vectors(), axis=1), 1, atol=1e-5)
