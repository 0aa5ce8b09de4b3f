"""Components and the methods made of them."""

import json
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel

from baselines import language_models
from harness.data.prepare import prepare
from harness.errors import DivergedError, HarnessError
from harness.methods.api import FitContext
from harness.protocol.split import HeldOut, LeaveOneOut, TrainingData
from harness.protocol.suite import Budget
from harness.run.artefact import RunArtefacts, artefact_key, train
from harness.run.provenance import TRAINING_CODE
from harness.storage.store import Store
from tests.code_reached import code_reached
from tests.conftest import toy_raw
from tests.contexts import make_context
from weaverec.lm.backbone import find_backbone, load, sizes_of
from weaverec.lm.loop import WeightAverage, learning_rate_factor, set_training_mode
from weaverec.lm.lora import LoraSettings, adapted
from weaverec.merging.api import Component, MergeContext
from weaverec.merging.method import MergedModel
from weaverec.merging.rules import Dare, TaskArithmetic, Ties
from weaverec.merging.search import TRIES, GridSearch
from weaverec.merging.task_vectors import task_vector
from weaverec.retriever.encoding import history_encoder
from weaverec.retriever.method import RetrieverHead
from weaverec.retriever.sampled_softmax import softmax_loss
from weaverec.retriever.train import (
    ComponentSettings,
    _batches,
    _Part,
    _schedule,
    _users,
    _validate_every,
    component,
    mean_cosine,
)
from weaverec.weaverec import weaverec, weaverec_adaptive, weaverec_chosen

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
    assert labels(language_models.source_only()) == ["b", "c"]
    for method in (weaverec(), weaverec_chosen(), weaverec_adaptive()):
        assert labels(method) == ["a", "a + b", "a + c"]
    rivals = (
        language_models.task_arithmetic,
        language_models.ties,
        language_models.dare,
        language_models.pruned_merge,
        language_models.adamerging,
    )
    for rival in rivals:
        assert labels(rival()) == labels(language_models.naive_merge())


def test_controls_see_no_source_and_are_given_as_much_as_a_merge() -> None:
    for control in (language_models.target_long, language_models.target_scaled):
        assert labels(control()) == ["a"]
    assert labels(language_models.random_merge()) == labels(weaverec())
    (alone,), (longer,) = (
        method().artefacts(data(), BUDGET, 0) for method in (language_models.target_only, language_models.target_long)
    )
    settings = longer.inputs["settings"]
    assert settings == {**alone.inputs["settings"], "steps": 3 * alone.inputs["settings"]["steps"]}
    assert longer.inputs["budget"] == {"epochs": 3 * BUDGET.epochs, "patience": 3 * BUDGET.patience}
    soups = [language_models.target_soup().artefacts(data(), BUDGET, seed) for seed in (0, 1)]
    assert [len(soup) for soup in soups] == [3, 3]
    assert artefact_key(soups[0][0]) == artefact_key(alone)
    assert len({artefact_key(artefact) for soup in soups for artefact in soup}) == 6
    for make_method in (language_models.target_long, language_models.target_soup, language_models.target_scaled):
        assert make_method().learns_from("a", ("b", "c")) == ("a",)


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


def test_the_code_that_decides_the_content_is_in_the_key_and_no_other() -> None:
    make = component(data(), ("a", "b"), QUICK, BUDGET, 0).make
    reached = code_reached(make, *TRAINING_CODE)
    decides = {
        "weaverec.retriever.train:_schedule",
        "weaverec.retriever.sampled_softmax:softmax_loss",
        "weaverec.lm.loop:train_adapter",
        "harness.training.early_stopping:EarlyStopping",
        "harness.evaluation.rank_scorer:validation_ndcg",
        "harness.protocol.ranks:rank_among",
        "harness.data.domain:Sequences",
        "harness.training.distributed:ProcessGroup",
    }
    assert decides <= set(reached)
    apart = (
        "weaverec.merging.rules",
        "weaverec.merging.diagnostics",
        "weaverec.ranker.scorer",
        "baselines",
        "harness.report",
        "harness.cli",
    )
    apart += ("harness.data.sources", "harness.data.readers", "harness.suites", "harness.run", "harness.results")
    assert not [name for name in reached if name.startswith(apart)]


@dataclass(frozen=True)
class Power:
    """A rule that is defined outside the package."""

    exponent: float = 1.0
    scale: float = 1.0
    name = "power"

    def merge(self, components, context):
        return {name: self.scale * layer**self.exponent for name, layer in components[0].task_vector.items()}


def test_a_search_is_named_by_the_rule_s_code_and_parameters_wherever_it_is_defined() -> None:
    mixes = [("a",), ("a", "b")]
    components = [Component(mix, Path(), component(data(), mix, QUICK, BUDGET, 0)) for mix in mixes]
    context = MergeContext(data(), RetrieverHead(QUICK), 0, "cpu", None)  # type: ignore[arg-type]
    choices = [{"scale": 0.5}, {"scale": 1.0}]

    def key(search: GridSearch) -> str:
        return artefact_key(search.artefact(components, context))

    assert key(GridSearch(Dare(seed=1), choices)) == key(GridSearch(Dare(seed=1), choices))
    searches = [
        GridSearch(rule, choices) for rule in (Dare(), Dare(seed=1), Ties(), TaskArithmetic(), Power(), Power(2.0))
    ]
    searches.append(GridSearch(Dare(), [{"scale": 0.5}, {"scale": 2.0}]))
    assert len({key(search) for search in searches}) == len(searches)
    assert key(GridSearch(Dare(), choices)) != artefact_key(
        GridSearch(Dare(), choices).artefact(components, replace(context, seed=1))
    )
    # Another rule in the same module is not part of it, nor is where artefacts are kept.
    reached = set(code_reached(GridSearch(Ties(), choices).artefact(components, context).make))
    assert {"weaverec.merging.rules:Ties", "weaverec.merging.rules:_largest"} <= reached
    assert not {"weaverec.merging.rules:Dare", "weaverec.merging.rules:_simplex"} & reached
    assert not [name for name in reached if name.startswith("harness.run")]


def make(folder: Path, mix: tuple[str, ...] = ("a", "b"), seed: int = 0):
    folder.mkdir()
    return component(data(), mix, QUICK, BUDGET, seed).make(folder, make_context(folder))


def test_the_same_seed_gives_the_same_component(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    first, again = make(tmp_path / "1"), make(tmp_path / "2")
    assert first == again
    file = "adapter_model.safetensors"
    assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "2" / file).read_bytes()


@pytest.mark.parametrize(("has", "products"), [(True, "bfloat16"), (False, "float32")])
def test_a_record_says_the_arithmetic_it_was_trained_in(
    has: bool, products: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("weaverec.lm.backbone", "weaverec.lm.loop"):
        monkeypatch.setattr(f"{module}.has_bfloat16", lambda _: has)
    quick = replace(QUICK, steps=1)
    notes = component(data(), ("a",), quick, BUDGET, 0).make(tmp_path, make_context(tmp_path)).notes
    assert notes["arithmetic"] == f"{products} products, float32 base"


def test_a_record_says_what_was_shown_and_how_the_training_began_and_ended(tmp_path: Path) -> None:
    record = component(data(), ("a", "b"), replace(QUICK, batch=4096), BUDGET, 0).make(tmp_path, make_context(tmp_path))
    notes, parts = record.notes, data().domains
    assert record.steps == 6
    assert notes["stopped_by"] == "cap on steps"
    # Both are one batch an epoch, so of six steps each has three.
    assert notes["prefixes"] == {name: 3 * (parts[name].train.lengths - 1).sum() for name in "ab"}
    tokenizer = load(find_backbone("minilm"))[1]
    read = sum(len(ids) for name in "ab" for ids in tokenizer(list(parts[name].catalogue.texts))["input_ids"])
    assert notes["tokens"] == 3 * read
    assert notes["start"]["log_items"] in [np.log(len(parts[name].catalogue)) for name in "ab"]
    assert 0 < notes["start"]["loss"] < 10
    assert 0 < notes["gradient_norm"]["first"] <= notes["gradient_norm"]["largest"]
    assert all(-1 < cosine < 1 for pair in notes["mean_cosine"].values() for cosine in pair)


@pytest.mark.parametrize(
    ("epochs", "patience", "stopped_by"), [(5, 5, "cap on steps"), (2, 5, "cap on epochs"), (5, 1, "patience")]
)
def test_a_record_says_what_ended_the_training(tmp_path: Path, monkeypatch, epochs, patience, stopped_by) -> None:
    monkeypatch.setattr("weaverec.retriever.train.validation_ndcg", lambda *_: 0.1)
    settings = replace(QUICK, batch=4096, validate_every=1)
    artefact = component(data(), ("a",), settings, Budget(1, epochs, patience), 0)
    assert artefact.make(tmp_path, make_context(tmp_path)).notes["stopped_by"] == stopped_by


def test_a_mix_has_as_many_steps_as_its_domains_have_together(tmp_path: Path) -> None:
    """A hybrid is shown as much of the target as the target's own component, and validated as often."""
    settings, lengths = replace(QUICK, batch=4096, steps=4, validate_every=2), data().domains["a"].train.lengths
    for mix in (("a",), ("a", "b"), ("a", "b", "c")):
        folder = tmp_path / "".join(mix)
        folder.mkdir()
        record = component(data(), mix, settings, BUDGET, 0).make(folder, make_context(folder))
        assert record.steps == 4 * len(mix)
        assert len(record.validation) == 2
        assert record.notes["prefixes"]["a"] == 4 * (lengths - 1).sum()


def test_a_training_whose_vectors_collapse_says_so_and_how_to_mend_it(tmp_path: Path) -> None:
    settings = replace(QUICK, learning_rate=1.0, warm_up=0.0)
    with pytest.raises(DivergedError, match=r"LoRA on a, seed 0.* mean cosine of (0\.99|1).*Lower learning_rate.* 1\."):
        component(data(), ("a",), settings, BUDGET, 0).make(tmp_path, make_context(tmp_path))


def test_a_training_whose_loss_is_not_finite_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weaverec.retriever.train.softmax_loss", lambda *rest: softmax_loss(*rest) * torch.inf)
    with pytest.raises(DivergedError, match=r"LoRA on a, seed 0.*at step 1 its loss is inf.*Lower learning_rate"):
        component(data(), ("a",), QUICK, BUDGET, 0).make(tmp_path, make_context(tmp_path))


def test_the_mean_cosine_is_over_all_pairs() -> None:
    vectors = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = [a @ b for i, a in enumerate(vectors) for j, b in enumerate(vectors) if i != j]
    assert mean_cosine(vectors) == pytest.approx(np.mean(pairs), abs=1e-6)
    assert mean_cosine(np.ones((4, 1), dtype=np.float32)) == 1
    assert mean_cosine(np.ones((1, 1), dtype=np.float32)) == 0


def test_averaged_weights_are_their_mean_at_first_and_follow_them_later() -> None:
    series = [torch.tensor([float(x)]) for x in np.random.default_rng(0).normal(size=12)]
    average = WeightAverage({"w": torch.zeros(1)}, 0.8)
    expected = torch.zeros(1)
    for step, weights in enumerate(series, start=1):
        average.add({"w": weights}, step)
        expected = torch.stack(series[:step]).mean(0) if step <= 5 else 0.8 * expected + 0.2 * weights
        torch.testing.assert_close(average.weights["w"], expected)


@pytest.mark.parametrize(("schedule", "last"), [("cosine", 0.0), ("constant", 1.0)])
def test_the_rate_rises_and_then_falls_or_stays(schedule: str, last: float) -> None:
    rates = [learning_rate_factor(step, 101, LoraSettings(schedule=schedule, warm_up=0.1)) for step in range(101)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[-1] == pytest.approx(last, abs=1e-3)


class _Killed(BaseException):
    pass


def test_a_validation_reads_no_more_texts_than_the_steps_before_it() -> None:
    settings = ComponentSettings(validate_every=10, items=512)
    assert _validate_every([329], settings) == 10
    assert _validate_every([329, 380], settings) == 20
    assert _validate_every([12_101, 329], settings) == 24 + 10


@pytest.mark.parametrize("at", [1, 4, 5, 6])
def test_a_killed_training_goes_on_and_ends_as_if_nothing_had_happened(tmp_path: Path, at: int) -> None:
    """Killed at its start, just before a validation, just after it, and when all is done but the saving."""
    torch.set_num_threads(1)
    # Negatives and dropout's masks are drawn too.
    settings = replace(QUICK, validate_every=1, fresh=8, items=10, dropout=0.1, averaging=0.5)
    artefact = component(data(), ("a", "b"), settings, BUDGET, 0)

    def killed(done: int, _: int) -> None:
        asked.append(done)
        if at == done and not survives:
            raise _Killed

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    asked: list[int] = []
    survives = True
    record = artefact.make(whole, make_context(whole, killed))
    survives = False
    with pytest.raises(_Killed):
        artefact.make(cut, make_context(cut, killed))
    asked.clear()
    survives = True
    assert artefact.make(cut, make_context(cut, killed)) == record
    assert asked == list(range(1 + (at - 1) // 4 * 4, 7))  # what came after the latest of the validations 4, 6
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (whole / file).read_bytes() == (cut / file).read_bytes()
    # Once more, as if it had been killed while it saved: nothing is left to do but that.
    asked.clear()
    assert artefact.make(cut, make_context(cut, killed)) == record
    assert asked == []


def test_long_before_its_first_validation_a_training_is_kept_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr("weaverec.lm.loop._SAVE_EVERY_S", 0.0)
    artefact = component(data(), ("a", "b"), replace(QUICK, validate_every=3), BUDGET, 0)
    asked: list[int] = []

    def killed(done: int, _: int) -> None:
        asked.append(done)
        if done == 3 and len(asked) == 3:
            raise _Killed

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    record = artefact.make(whole, make_context(whole))
    with pytest.raises(_Killed):
        artefact.make(cut, make_context(cut, killed))
    assert artefact.make(cut, make_context(cut, killed)) == record
    assert asked == [1, 2, 3, 3, 4, 5, 6]
    file = "adapter_model.safetensors"
    assert (whole / file).read_bytes() == (cut / file).read_bytes()


def test_dropout_is_the_adapter_s_and_only_while_it_learns() -> None:
    backbone = find_backbone("minilm")
    torch.manual_seed(0)
    settings = LoraSettings(dropout=0.5)
    model = adapted(load(backbone)[0], backbone, settings)
    set_training_mode(model, settings)
    on = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Dropout) and module.training}
    assert on
    assert all("lora_dropout" in name and model.get_submodule(name).p == 0.5 for name in on)
    assert not any(module.training for module in model.eval().modules())


def test_every_scenario_over_n_domains_needs_n_and_n_times_n_less_1_halves_components() -> None:
    keys = {
        artefact_key(artefact)
        for target in "abc"
        for artefact in weaverec().artefacts(data(target, tuple(sorted({*"abc"} - {target}))), BUDGET, 0)
    }
    assert len(keys) == 3 + 3 * 2 // 2


def test_a_killed_training_leaves_its_checkpoint_to_the_next_command(tmp_path: Path) -> None:
    artefact = component(data(), ("a",), replace(QUICK, validate_every=1), BUDGET, 0)
    store = Store(tmp_path)

    def killed(done: int, _: int) -> None:
        if done == 2:
            raise _Killed

    with pytest.raises(_Killed):
        train(artefact, store, "cpu", killed)
    (left,) = (tmp_path / "unfinished").iterdir()
    asked: list[int] = []
    train(artefact, store, "cpu", lambda done, _: asked.append(done))
    assert asked == [2, 3]
    assert store.has("lora", artefact_key(artefact))
    assert not left.exists()


def test_a_component_is_peft_s_own_format_and_names_no_local_path(tmp_path: Path) -> None:
    record = make(tmp_path / "c")
    config = json.loads((tmp_path / "c" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "sentence-transformers/all-MiniLM-L6-v2"
    names = ["adapter_config.json", "adapter_model.safetensors", "curves"]
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == names
    base, _ = load(find_backbone("minilm"))
    loaded = PeftModel.from_pretrained(base, tmp_path / "c")
    assert record.trainable_parameters == sum(p.numel() for n, p in loaded.named_parameters() if "lora_" in n)
    assert any(v.abs().max() > 0 for v in task_vector(tmp_path / "c").values())


def part_of(name: str, settings: ComponentSettings) -> _Part:
    backbone = find_backbone("minilm")
    domain = data().domains[name]
    return _Part(
        domain, history_encoder(backbone, domain.catalogue, load(backbone)[1], settings.retriever), settings, 0
    )


def test_a_batch_is_of_whole_users_of_one_domain_and_an_epoch_takes_each_once() -> None:
    settings = ComponentSettings(batch=20, fresh=14)
    parts = [part_of("a", settings), part_of("b", settings)]
    epoch = sum(len(_batches(part, settings, np.random.default_rng(0))) for part in parts)
    batches = list(islice(_schedule(parts, settings, np.random.default_rng(0)), epoch))
    assert len(batches) == epoch > 4
    for which, part in enumerate(parts):
        own = [users for domain, users in batches if domain == which]
        assert sorted(np.concatenate(own)) == list(part.users)
        for users in own:
            taken = part.domain.train.select(users)
            assert len(users) == 1 or (taken.lengths - 1).sum() <= 20
            assert len(users) == 1 or len(np.unique(taken.items)) <= 14


def test_training_is_on_at_most_the_cap_and_on_users_with_something_to_predict() -> None:
    train = data().domains["a"].train
    prefixes = np.maximum(train.lengths - 1, 0)
    assert list(_users(train, 10**6, 0)) == list(np.flatnonzero(prefixes))
    capped = _users(train, 10, 0)
    assert 0 < prefixes[capped].sum() <= 10
    assert list(capped) == list(_users(train, 10, 0)) != list(_users(train, 10, 1))


def test_fit_merges_what_the_store_has(tmp_path: Path) -> None:
    artefacts = RunArtefacts(Store(tmp_path), "cpu", lambda *_: None)
    method = MergedModel(lambda target, _: [(target,), (target, "b")], head=RetrieverHead(QUICK))
    scorer = method.fit(data(), FitContext(BUDGET, 0, "cpu", artefacts))
    assert [record.label for record in artefacts.records] == ["LoRA on a, seed 0", "LoRA on a + b, seed 0"]
    again = method.fit(data(), FitContext(BUDGET, 0, "cpu", RunArtefacts(Store(tmp_path), "cpu", lambda *_: None)))
    np.testing.assert_array_equal(scorer.item_vectors(), again.item_vectors())
    np.testing.assert_allclose(np.linalg.norm(scorer.item_vectors(), axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("make_method", [weaverec_chosen, language_models.ties, language_models.dare])
def test_a_rule_with_a_choice_tries_its_budget_on_validation_and_says_so(tmp_path: Path, make_method) -> None:
    method = make_method().tuned({"steps": 2, "batch": 40})
    artefacts = RunArtefacts(Store(tmp_path), "cpu", lambda *_: None)
    method.fit(data("a", ("b",)), FitContext(BUDGET, 0, "cpu", artefacts))
    *_, merge = artefacts.records
    assert merge.kind == "merge"
    assert 1 < len(merge.notes["tried"]) == len(merge.validation) <= TRIES
    assert merge.notes["chosen"] == merge.notes["tried"][int(np.argmax(merge.validation))]


def test_weights_by_entropy_lower_it_and_stay_on_the_simplex(tmp_path: Path) -> None:
    method = weaverec_adaptive().tuned({"steps": 6, "batch": 40})
    artefacts = RunArtefacts(Store(tmp_path), "cpu", lambda *_: None)
    method.fit(data("a", ("b",)), FitContext(BUDGET, 0, "cpu", artefacts))
    *_, merge = artefacts.records
    entropies = merge.notes["entropy_in_nats"]
    assert entropies[-1] < entropies[0] <= merge.notes["largest_possible"]
    assert sum(merge.notes["mean"]) == pytest.approx(1)


def test_a_mix_that_nothing_can_select_for_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    whole = data()
    b = whole.domains["b"]
    nobody = replace(b, validation=HeldOut(b.validation.histories.block(0, 0), np.zeros(0, int), np.zeros(0, int)))
    asked = TrainingData("a", ("b", "c"), {**whole.domains, "b": nobody})
    with pytest.raises(HarnessError, match="b has no validation events"):
        component(asked, ("b",), QUICK, BUDGET, 0).make(tmp_path, make_context(tmp_path))
    component(asked, ("a", "b"), QUICK, BUDGET, 0).make(tmp_path, make_context(tmp_path))


def test_an_estimate_is_near_what_a_training_takes() -> None:
    settings = ComponentSettings(steps=5)
    asked = component(data(), ("a", "b"), settings, BUDGET, 0).estimate
    assert asked is not None
    found = asked()
    sizes = sizes_of(find_backbone("minilm"))
    model, tokenizer = load(find_backbone("minilm"))
    every, embedded = (sum(p.numel() for p in part.parameters()) for part in (model, model.embeddings))
    assert sizes.weights == every
    assert sizes.multiplied == every - embedded
    assert (sizes.layers, sizes.hidden) == (6, 384)
    # Each step touches all 15 items of one domain; the validation reads both domains.
    texts = [text for name in "ab" for text in data().domains[name].catalogue.texts]
    a_text = np.mean([len(ids) for ids in tokenizer(texts)["input_ids"]])
    assert found.tokens == pytest.approx((10 * 15 + 30) * a_text, rel=0.3)
    assert found.flops == pytest.approx(sizes.multiplied * (4 * 10 * 15 + 2 * 30) * a_text, rel=0.3)
    assert 4 * sizes.weights / 1e9 < found.memory_gb < 1
    accumulated = component(data(), ("a", "b"), replace(settings, accumulate=True), BUDGET, 0).estimate
    assert accumulated is not None
    assert accumulated().flops == pytest.approx(sizes.multiplied * (6 * 10 * 15 + 2 * 30) * a_text, rel=0.3)
