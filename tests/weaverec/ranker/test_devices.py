"""The paths that a ranker takes on a GPU, run on a CPU: they give what the CPU's own paths give."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft.tuners.lora import Linear
from safetensors.torch import load_file

from harness.data.domain import Catalogue, Sequences
from harness.data.prepare import prepare
from harness.methods.api import DotProduct
from harness.protocol.split import Histories, LeaveOneOut, TrainingData
from harness.protocol.suite import Budget
from harness.training.record import TrainingRecord
from tests.conftest import toy_raw
from tests.contexts import make_context
from tests.weaverec.decoders import decoder
from weaverec.lm.backbone import load
from weaverec.lm.batching import token_batches
from weaverec.lm.fused_lora import FusedLora
from weaverec.lm.lora import LoraSettings, adapted
from weaverec.ranker.likelihood import likelihoods
from weaverec.ranker.prompt import PromptSettings, make_prompt, prompt_tokens, title_tokens
from weaverec.ranker.scorer import Ranker
from weaverec.ranker.train import Example, RankerSettings, answer_loss, ranker_component

TITLES = tuple(f"film number {i}" + " abc" * (i % 3) for i in range(12))
HISTORIES = Histories(np.array([0, 1, 2]), Sequences.of([[1, 2, 3], [4], []]))
PROMPT = PromptSettings(candidates=5, answers=3)


@pytest.fixture(scope="module", params=["qwen2", "llama"])
def backbone(request, tmp_path_factory: pytest.TempPathFactory):
    return decoder(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def loaded(backbone):
    """A model with an adapter that changes it, and its tokenizer."""
    base, tokenizer = load(backbone, "tokens")
    torch.manual_seed(0)
    model = adapted(base, backbone, LoraSettings(rank=4))
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    return model, tokenizer


@pytest.fixture(autouse=True)
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weaverec.lm.backbone.has_bfloat16", lambda _: False)


def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fused attention with masks, padded batches of many prompts, and PEFT's own LoRA layers."""
    for module in ("train", "likelihood"):
        monkeypatch.setattr(f"weaverec.ranker.{module}.attends_by_blocks", lambda _: False)
    monkeypatch.setattr("weaverec.ranker.train._at_once", lambda _, settings: settings.most_tokens)
    monkeypatch.setattr(FusedLora, "forward", Linear.forward)


def test_likelihoods(loaded, monkeypatch) -> None:
    model, tokenizer = loaded
    prompt = prompt_tokens(TITLES, np.array([1, 2]), np.arange(5), tokenizer, PROMPT)
    answers = title_tokens(TITLES, np.arange(12), tokenizer, PROMPT)
    expected = likelihoods(model, prompt, answers)
    as_on_a_gpu(monkeypatch)
    torch.testing.assert_close(likelihoods(model, prompt, answers), expected, atol=1e-5, rtol=0)


def test_scores(loaded, monkeypatch) -> None:
    model, tokenizer = loaded
    vectors = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    finder = DotProduct(vectors, lambda h: np.stack([vectors[s].sum(0) for s in h.sequences]))
    scorer = Ranker(model, tokenizer, Catalogue(tuple(map(str, range(12))), TITLES), finder, PROMPT)
    candidates = (np.array([[0, 4, 6, 8, 9]] * 3), None)
    expected = [scorer.score(HISTORIES, each) for each in candidates]
    as_on_a_gpu(monkeypatch)
    for each, scores in zip(candidates, expected, strict=True):
        np.testing.assert_allclose(scorer.score(HISTORIES, each), scores, atol=1e-5)


def gradients(model: torch.nn.Module, prompts: list[Example], pad: int, most_tokens: int) -> tuple[float, torch.Tensor]:
    """The loss and the gradients of prompts that go through a model in batches."""
    model.zero_grad()
    total = 0.0
    for rows in token_batches(np.array([len(each.prompt) + len(each.answer) for each in prompts]), most_tokens):
        loss = answer_loss(model, [prompts[row] for row in rows], pad)
        loss.backward()
        total += float(loss.detach())
    return total, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_the_loss_and_its_gradients_do_not_depend_on_the_batch(loaded, monkeypatch) -> None:
    model, tokenizer = loaded
    histories, targets = ([1, 2, 3, 5], [4], [7, 8], [9, 1], [2, 4, 6]), np.array([4, 2, 0, 11, 8])
    answers = title_tokens(TITLES, targets, tokenizer, PROMPT)
    prompts = [
        Example(prompt_tokens(TITLES, np.array(history), np.arange(5), tokenizer, PROMPT), answer)
        for history, answer in zip(histories, answers, strict=True)
    ]
    prompt = make_prompt(TITLES, np.array([7, 1, 9]), np.arange(5), tokenizer, PROMPT)
    prompts.append(Example(prompt.tokens, answers[0], prompt.history))
    loss, expected = gradients(model, prompts, tokenizer.pad_token_id, 1)
    assert expected.abs().max() > 1e-3
    as_on_a_gpu(monkeypatch)
    for most_tokens in (1, 600, 8192):
        batched = gradients(model, prompts, tokenizer.pad_token_id, most_tokens)
        assert batched[0] == pytest.approx(loss, abs=1e-4)
        assert float((batched[1] - expected).norm() / expected.norm()) < 1e-4


def train(backbone, folder: Path) -> tuple[TrainingRecord, dict[str, torch.Tensor]]:
    domains = {name: LeaveOneOut().training(prepare(toy_raw(name, i, 8, 15), 1)) for i, name in enumerate("ab")}
    settings = RankerSettings(
        backbone=str(backbone.folder), steps=2, batch=6, cap=12, validation_users=4, weights="float32", prompt=PROMPT
    )
    folder.mkdir()
    component = ranker_component(TrainingData("a", ("b",), domains), ("a", "b"), settings, Budget(1, 9, 5), 0)
    return component.make(folder, make_context(folder)), load_file(folder / "adapter_model.safetensors")


def test_a_training_gives_the_same_component(backbone, tmp_path: Path, monkeypatch) -> None:
    record, weights = train(backbone, tmp_path / "cpu")
    as_on_a_gpu(monkeypatch)
    other_record, others = train(backbone, tmp_path / "gpu")
    assert record.steps == other_record.steps == 4
    assert other_record.validation == pytest.approx(record.validation, abs=1e-6)
    assert weights.keys() == others.keys()
    moved = 0.0
    for name, weight in weights.items():
        torch.testing.assert_close(others[name], weight, atol=2e-5, rtol=0)
        moved = max(moved, float(weight.abs().max())) if "lora_B" in name else moved
    assert moved > 2e-4  # B starts at 0


def test_bfloat16_products_are_near_float32(loaded, monkeypatch) -> None:
    model, tokenizer = loaded
    vectors = np.ones((12, 2), dtype=np.float32)
    finder = DotProduct(vectors, lambda h: np.ones((len(h.users), 2), dtype=np.float32))
    scorer = Ranker(model, tokenizer, Catalogue(tuple(map(str, range(12))), TITLES), finder, PROMPT)
    candidates = np.array([[0, 4, 6, 8, 9]] * 3)
    expected = scorer.score(HISTORIES, candidates)
    monkeypatch.setattr("weaverec.lm.backbone.has_bfloat16", lambda _: True)
    on_a_cpu = scorer.score(HISTORIES, candidates)
    as_on_a_gpu(monkeypatch)
    on_a_gpu = replace(scorer).score(HISTORIES, candidates)
    for scores in (on_a_cpu, on_a_gpu):
        assert not np.array_equal(scores, expected)
        np.testing.assert_allclose(scores, expected, rtol=0.02)
