"""Texts packed into one row, and LoRA layers with summed weights, give what plain PEFT and padding give."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft.tuners.lora import Linear

from harness.data.domain import Catalogue
from weaverec.lm import packing
from weaverec.lm.backbone import find_backbone, load
from weaverec.lm.fused_lora import FusedLora
from weaverec.lm.lora import LoraSettings, adapted
from weaverec.lm.packing import packs
from weaverec.lm.pooling import Mode, pool, pool_packed
from weaverec.retriever.encoding import RetrieverSettings, history_encoder

TEXTS = (
    "a film",
    "the last film of the year",
    "",
    "a film about a long journey through the mountains",
    "drama",
    "noir",
)


@given(st.lists(st.integers(1, 60), max_size=80), st.integers(1, 200))
def test_packs_hold_every_row_once_shortest_first(lengths: list[int], most: int) -> None:
    sizes = np.array(lengths, dtype=np.int64)
    parts = packs(sizes, most)
    assert sorted(np.concatenate([np.arange(0), *parts])) == list(range(len(sizes)))
    assert all(np.all(np.diff(sizes[part]) >= 0) for part in parts)
    # A pack exceeds the limit by less than its longest row, and two neighbours never fit into one pack.
    assert all(sizes[part].sum() < most + sizes[part].max() for part in parts if len(part))
    assert all(sizes[left].sum() + sizes[right].sum() > most - sizes[left].max() for left, right in pairwise(parts))


@pytest.mark.parametrize("mode", ["mean", "cls", "last"])
def test_pooling_of_packed_texts_is_that_of_padded_ones(mode: Mode) -> None:
    lengths = [1, 3, 3, 5]
    rows = [torch.randn(length, 4) for length in lengths]
    states, mask = torch.randn(4, 5, 4), torch.zeros(4, 5, dtype=torch.long)
    for row, text in enumerate(rows):
        states[row, : len(text)], mask[row, : len(text)] = text, 1
    torch.testing.assert_close(pool_packed(torch.cat(rows), lengths, mode), pool(mode)(states, mask))


def _vectors(model: torch.nn.Module, tokenizer: object) -> torch.Tensor:
    catalogue = Catalogue(tuple(map(str, range(len(TEXTS)))), TEXTS)
    encoder = history_encoder(find_backbone("minilm"), catalogue, tokenizer, RetrieverSettings())
    return encoder.items(model, np.arange(len(TEXTS)))


def test_packed_vectors_are_those_of_padded_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = load(find_backbone("minilm"))
    with torch.no_grad():
        packed = _vectors(model, tokenizer)
        monkeypatch.setattr(packing, "PACKABLE", ())
        padded = _vectors(model, tokenizer)
    assert not torch.equal(packed, padded)
    torch.testing.assert_close(packed, padded, atol=1e-6, rtol=0)


def test_gradients_are_those_of_peft() -> None:
    def gradients(fused: bool) -> tuple[float, dict[str, torch.Tensor]]:
        torch.manual_seed(0)
        base, tokenizer = load(find_backbone("minilm"))
        model = adapted(base, find_backbone("minilm"), LoraSettings())
        layers = [module for module in model.modules() if isinstance(module, FusedLora)]
        assert len(layers) == 37  # six in each layer, and the pooler
        for layer in layers:
            torch.nn.init.normal_(layer.lora_B["default"].weight, std=0.02)
            if not fused:
                layer.forward = Linear.forward.__get__(layer)
        vectors = _vectors(model, tokenizer)
        loss = (vectors @ vectors.T).square().sum()
        loss.backward()
        return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    (loss, fused), (expected_loss, expected) = gradients(True), gradients(False)
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert fused.keys() == expected.keys()
    assert len(fused) == 72
    for name, gradient in expected.items():
        torch.testing.assert_close(fused[name], gradient, atol=2e-4 * float(gradient.abs().max()), rtol=1e-4)


def test_dropout_and_disabled_adapters_go_through_peft() -> None:
    base, tokenizer = load(find_backbone("minilm"))
    zero = _vectors(base, tokenizer).detach()
    model = adapted(base, find_backbone("minilm"), LoraSettings(dropout=0.5))
    for layer in model.modules():
        if isinstance(layer, FusedLora):
            torch.nn.init.normal_(layer.lora_B["default"].weight, std=0.1)
    model.train()
    with torch.no_grad():
        assert not torch.equal(_vectors(model, tokenizer), _vectors(model, tokenizer))
        with model.disable_adapter():
            torch.testing.assert_close(_vectors(model.eval(), tokenizer), zero)
