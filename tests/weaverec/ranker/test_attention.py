"""Attention by blocks against the fused kernel of torch, on tiny random models."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from weaverec.lm.backbone import autocast_bf16
from weaverec.ranker import attention
from weaverec.ranker.attention import answer_blocks, attends_by_blocks, causal_blocks, packable, seen
from weaverec.ranker.likelihood import likelihoods
from weaverec.ranker.train import Example, answer_loss

WORDS = 40


@pytest.fixture(params=[LlamaConfig, Qwen2Config])
def model(request, monkeypatch):
    """A model whose four heads share two heads of keys; blocks are small, so that texts span several."""
    monkeypatch.setattr(attention, "BLOCK", 7)
    torch.manual_seed(0)
    config = request.param(
        vocab_size=WORDS,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
    )
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()


def texts(*lengths: int) -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [rng.integers(WORDS, size=length).tolist() for length in lengths]


def batch() -> list[Example]:
    return [Example(*texts(prompt, answer)) for prompt, answer in ((20, 3), (5, 1), (31, 9))]


def loss_and_gradients(model) -> tuple[torch.Tensor, list[torch.Tensor]]:
    model.zero_grad()
    loss = answer_loss(model, batch(), 0)
    loss.backward()
    return loss.detach(), [weight.grad.clone() for weight in model.parameters()]


def without_blocks(monkeypatch) -> None:
    for room in ("likelihood", "train"):
        monkeypatch.setattr(f"weaverec.ranker.{room}.attends_by_blocks", lambda _: False)


def test_losses_and_gradients_of_prompts_in_one_row_are_those_of_the_fused_kernel(model, monkeypatch) -> None:
    assert attends_by_blocks(model)
    loss, gradients = loss_and_gradients(model)
    without_blocks(monkeypatch)
    expected_loss, expected = loss_and_gradients(model)
    torch.testing.assert_close(loss, expected_loss, atol=1e-5, rtol=1e-5)
    for gradient, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("lengths", [(3, 1, 12, 4, 4, 1), (1,), (1, 1), (9,), (30, 2)])
def test_likelihoods_by_blocks_are_those_of_the_fused_kernel(model, monkeypatch, lengths: tuple[int, ...]) -> None:
    prompt, *answers = texts(25, *lengths)
    scores = likelihoods(model, prompt, answers)
    with autocast_bf16("cpu"):
        rounded = likelihoods(model, prompt, answers)
    without_blocks(monkeypatch)
    expected = likelihoods(model, prompt, answers)
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(rounded, expected, atol=0.1, rtol=0.05)
    assert packable(model)  # the usual attention is back


def test_layers_that_run_again_in_the_backward_pass_attend_as_usual(model) -> None:
    loss, gradients = loss_and_gradients(model)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    assert not attends_by_blocks(model)
    again, others = loss_and_gradients(model)
    torch.testing.assert_close(again, loss, atol=1e-5, rtol=1e-5)
    for gradient, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-5, rtol=1e-4)
    assert attends_by_blocks(model.eval())


@pytest.mark.parametrize("size", [1, 4, 100])
def test_blocks_hide_what_comes_later_and_other_texts(monkeypatch, size: int) -> None:
    monkeypatch.setattr(attention, "BLOCK", size)
    text = np.repeat([0, 1, 2], [9, 1, 5])
    earlier = np.tri(15, dtype=bool)
    expected = (text[:, None] == text[None, :]) & earlier
    np.testing.assert_array_equal(seen(causal_blocks([9, 1, 5]))[0, 0], expected)
    # Text 0 as the prompt of the others.
    expected |= (text[None, :] == 0) & earlier
    np.testing.assert_array_equal(seen(answer_blocks(9, text[9:]))[0, 0], expected)
