"""Speed of the ranker against plain loops, with SmolLM2; compare within a group only. Run with: make bench.

Times are of the CPU, in one thread, so that other processes disturb them little.
"""

import time
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from tests.weaverec.ranker.films import comedies, real_prompts, skip_without_smollm2
from weaverec.lm.backbone import autocast_bf16, find_backbone, load
from weaverec.lm.batching import padded
from weaverec.lm.lora import adapted
from weaverec.ranker import likelihood
from weaverec.ranker.prompt import PromptSettings
from weaverec.ranker.train import Example, RankerSettings, answer_loss

ONCE = {"rounds": 1, "iterations": 1}


@pytest.fixture
def loaded() -> tuple[Any, Any, list[tuple[list[int], list[list[int]]]]]:
    """SmolLM2, its tokenizer, and the prompts of eight users."""
    skip_without_smollm2()
    torch.set_num_threads(1)
    model, tokenizer = load(find_backbone("smollm2"), "tokens", torch.bfloat16)
    return model, tokenizer, list(real_prompts(comedies(), tokenizer, PromptSettings(), 8))


@pytest.mark.benchmark(group="scores of 30 candidates, 4 prompts", timer=time.process_time)
@pytest.mark.parametrize("variant", ["one row", "a row each", "plain batch"])
def test_scoring(benchmark, monkeypatch, loaded, variant: str) -> None:
    model, tokenizer, prompts = loaded
    if variant == "a row each":
        monkeypatch.setattr(likelihood, "packable", lambda _: False)

    def score() -> None:
        with torch.no_grad(), autocast_bf16("cpu"):
            for prompt, titles in prompts[:4]:
                if variant == "plain batch":
                    ids, mask = padded([[*prompt, *title] for title in titles], tokenizer.pad_token_id)
                    model(input_ids=ids, attention_mask=mask).logits.float().log_softmax(-1)
                else:
                    likelihood.likelihoods(model, prompt, titles)

    benchmark.pedantic(score, **ONCE)


@pytest.mark.benchmark(group="training step of 8 prompts", timer=time.process_time)
@pytest.mark.parametrize("variant", ["harness", "PEFT, plain batch"])
def test_training_step(benchmark, loaded, variant: str) -> None:
    model, tokenizer, prompts = loaded
    batch = [Example(prompt, [*titles[0], tokenizer.eos_token_id]) for prompt, titles in prompts]
    if variant == "harness":
        model = adapted(model, find_backbone("smollm2"), RankerSettings())
    else:
        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")).eval()

    def step() -> None:
        if variant == "harness":
            for example in batch:
                with autocast_bf16("cpu"):
                    loss = answer_loss(model, [example], tokenizer.pad_token_id) / len(batch)
                loss.backward()
            return
        ids, mask = padded([[*example.prompt, *example.answer] for example in batch], tokenizer.pad_token_id)
        labels = torch.full_like(ids, -100)
        for row, example in enumerate(batch):
            start = len(example.prompt)
            labels[row, start : start + len(example.answer)] = torch.tensor(example.answer)
        with autocast_bf16("cpu"):
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()

    benchmark.pedantic(step, **ONCE)
