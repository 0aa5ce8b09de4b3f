"""Speed of the ranker with SmolLM2: against plain loops, and as a share of the machine's bf16 matrix rate.

Times are of the CPU, in one thread, so that other processes disturb them little; compare within a group only.
Run with: make bench. For the shares: pytest -s tests/benchmarks/test_ranker.py --benchmark-only -k matrix
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from tests.weaverec.ranker.films import comedies, real_prompts, skip_without_smollm2
from weaverec.lm.backbone import autocast_bf16, find_backbone, load, sizes_of
from weaverec.lm.batching import padded
from weaverec.lm.lora import adapted
from weaverec.ranker import likelihood
from weaverec.ranker.prompt import PromptSettings
from weaverec.ranker.train import Example, RankerSettings, answer_loss

Prompts = list[tuple[list[int], list[list[int]]]]

ONCE = {"rounds": 1, "iterations": 1}

#: Prompts that go through the model together in training.
AT_ONCE = 3


@pytest.fixture
def loaded() -> tuple[Any, Any, Prompts]:
    """SmolLM2, its tokenizer, and the prompts of six users."""
    skip_without_smollm2()
    torch.set_num_threads(1)
    model, tokenizer = load(find_backbone("smollm2"), "tokens", torch.bfloat16)
    return model, tokenizer, list(real_prompts(comedies(), tokenizer, PromptSettings(history=5), 6))


def score(model: Any, prompts: Prompts) -> None:
    with torch.no_grad(), autocast_bf16("cpu"):
        for prompt, titles in prompts:
            likelihood.likelihoods(model, prompt, titles)


def train(model: Any, batch: list[Example], pad: int) -> None:
    for start in range(0, len(batch), AT_ONCE):
        with autocast_bf16("cpu"):
            loss = answer_loss(model, batch[start : start + AT_ONCE], pad) / len(batch)
        loss.backward()


def answered(tokenizer: Any, prompts: Prompts) -> list[Example]:
    return [Example(prompt, [*titles[0], tokenizer.eos_token_id]) for prompt, titles in prompts]


@pytest.mark.benchmark(group="scores of 30 candidates, one prompt", timer=time.process_time)
@pytest.mark.parametrize("variant", ["blocks", "fused kernel", "a row each", "plain batches"])
def test_scoring(benchmark, monkeypatch, loaded, variant: str) -> None:
    model, tokenizer, prompts = loaded
    if variant != "blocks":
        monkeypatch.setattr(likelihood, "attends_by_blocks", lambda _: False)
    if variant == "a row each":
        monkeypatch.setattr(likelihood, "packable", lambda _: False)

    def score_plainly() -> None:
        prompt, titles = prompts[0]
        with torch.no_grad(), autocast_bf16("cpu"):
            for start in range(0, len(titles), 10):
                ids, mask = padded([[*prompt, *title] for title in titles[start : start + 10]], tokenizer.pad_token_id)
                model(input_ids=ids, attention_mask=mask).logits.float().log_softmax(-1)

    benchmark.pedantic(score_plainly if variant == "plain batches" else lambda: score(model, prompts[:1]), **ONCE)


@pytest.mark.benchmark(group="training step of 6 prompts", timer=time.process_time)
@pytest.mark.parametrize("variant", ["harness", "PEFT, plain batch"])
def test_training_step(benchmark, loaded, variant: str) -> None:
    model, tokenizer, prompts = loaded
    batch = answered(tokenizer, prompts)
    if variant == "harness":
        model = adapted(model, find_backbone("smollm2"), RankerSettings())
    else:
        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")).eval()

    def step_plainly() -> None:
        ids, mask = padded([[*example.prompt, *example.answer] for example in batch], tokenizer.pad_token_id)
        labels = torch.full_like(ids, -100)
        for row, example in enumerate(batch):
            start = len(example.prompt)
            labels[row, start : start + len(example.answer)] = torch.tensor(example.answer)
        with autocast_bf16("cpu"):
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()

    step = (lambda: train(model, batch, tokenizer.pad_token_id)) if variant == "harness" else step_plainly
    benchmark.pedantic(step, **ONCE)


@pytest.mark.benchmark(group="share of the matrix rate", timer=time.process_time)
@pytest.mark.parametrize("what", ["scoring", "training"])
def test_share_of_the_matrix_rate(benchmark, loaded, what: str) -> None:
    """The median over rounds of useful operations a second, relative to a large product's just before and after."""
    model, tokenizer, prompts = loaded
    if what == "scoring":
        work, operations = (lambda: score(model, prompts[:1])), scoring_operations(*prompts[0])
    else:
        model, batch = adapted(model, find_backbone("smollm2"), RankerSettings()), answered(tokenizer, prompts[:3])
        work = lambda: train(model, batch, tokenizer.pad_token_id)  # noqa: E731
        operations = sum(training_operations(example) for example in batch)
    work()
    rates, shares = [], []
    for _ in range(5):
        before, taken, after = matrix_rate(), seconds(work), matrix_rate()
        rates.append((before + after) / 2)
        shares.append(operations / taken / rates[-1])
    figures = {"GFLOP/s of a product": np.median(rates) / 1e9, "share": np.median(shares), "lowest": min(shares)}
    benchmark.extra_info.update({name: round(float(value), 3) for name, value in figures.items()})
    print(what, benchmark.extra_info)
    benchmark.pedantic(work, **ONCE)


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def matrix_rate() -> float:
    """Operations a second of bf16 products of the shape of the model's widest layer, for 500 tokens."""
    a, b = torch.randn(500, 576).bfloat16(), torch.randn(576, 1536).bfloat16()
    taken = seconds(lambda: [a @ b for _ in range(200)])
    return 200 * 2 * a.numel() * b.shape[1] / taken


def scoring_operations(prompt: list[int], titles: list[list[int]]) -> float:
    """Two for each weight and token, four for each pair of tokens that attend, hidden unit and layer, and the logits.

    A title's last token is not read.
    """
    sizes, n = sizes_of(find_backbone("smollm2"), "tokens"), len(prompt)
    read = [len(title) - 1 for title in titles]
    pairs = n * (n + 1) / 2 + sum(count * n + count * (count + 1) / 2 for count in read)
    logits = 2 * (1 + sum(read)) * sizes.hidden * sizes.vocabulary
    return 2 * sizes.multiplied * (n + sum(read)) + 4 * sizes.layers * sizes.hidden * pairs + logits


def training_operations(example: Example) -> float:
    """As `scoring_operations`, and as many in the backward pass; of attention twice as many.

    Frozen weights have no gradient, and the adapter's own products are not counted.
    """
    sizes, n = sizes_of(find_backbone("smollm2"), "tokens"), len(example.prompt) + len(example.answer) - 1
    logits = 4 * len(example.answer) * sizes.hidden * sizes.vocabulary
    return 4 * sizes.multiplied * n + 12 * sizes.layers * sizes.hidden * n * (n + 1) / 2 + logits
