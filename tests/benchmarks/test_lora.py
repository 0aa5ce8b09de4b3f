"""Speed comparisons of LoRA training and AdaMerging in one run; compare within a group only. Run with: make bench.

Times are of the CPU, in one thread, so that other processes disturb them little.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from peft.tuners.lora import Linear
from torch import nn

from harness.data.prepare import prepare
from harness.datasets import load_dataset
from tests.weaverec.merging.dense import DenselyMerged
from weaverec.lm import packing
from weaverec.lm.backbone import autocast_bf16, find_backbone, load
from weaverec.lm.fused_lora import FusedLora
from weaverec.lm.lora import LoraSettings, adapted
from weaverec.merging.task_vectors import LowRank
from weaverec.merging.weighted_layers import weighted_layers
from weaverec.retriever.encoding import RetrieverSettings, history_encoder

COMPONENTS, RANK = 3, 16

Encode = Callable[[nn.Module], torch.Tensor]


@pytest.fixture(scope="module")
def loaded() -> tuple[nn.Module, Encode]:
    """The packaged MiniLM, and a function that reads the texts of MovieLens' dramas."""
    torch.set_num_threads(1)
    domain = prepare(load_dataset("movielens-100k-drama").source.open("drama", Path()), 5)
    model, tokenizer = load(find_backbone("minilm"))
    encoder = history_encoder(find_backbone("minilm"), domain.catalogue, tokenizer, RetrieverSettings())

    def encode(model: nn.Module) -> torch.Tensor:
        with autocast_bf16("cpu"):
            return encoder.items(model, np.arange(len(encoder))).float()

    return model, encode


@pytest.mark.benchmark(group="LoRA training step", timer=time.process_time)
@pytest.mark.parametrize("variant", ["packed, fused", "packed, PEFT's layers", "padded, fused"])
def test_lora_step(benchmark, monkeypatch, loaded, variant: str) -> None:
    """Encode a catalogue, forward and backward."""
    _, encode = loaded
    model = adapted(load(find_backbone("minilm"))[0], find_backbone("minilm"), LoraSettings(rank=RANK))
    if "padded" in variant:
        monkeypatch.setattr(packing, "PACKABLE", ())
    if "PEFT" in variant:
        monkeypatch.setattr(FusedLora, "forward", Linear.forward)
    benchmark.pedantic(lambda: _loss(encode(model)).backward(), rounds=8, warmup_rounds=1)


@pytest.mark.benchmark(group="AdaMerging step", timer=time.process_time)
@pytest.mark.parametrize("variant", ["low-rank", "dense"])
def test_adamerging_step(benchmark, loaded, variant: str) -> None:
    """Encode a catalogue with merged weights, forward and backward into the weights of each layer."""
    model, encode = loaded
    vectors = _random_task_vectors(model)
    logits = torch.zeros(len(vectors[0]), COMPONENTS, requires_grad=True)

    with weighted_layers(model, vectors) if variant == "low-rank" else nullcontext({}) as layers:

        def step() -> None:
            weights = torch.softmax(logits, dim=1)
            for layer, row in zip(layers.values(), weights, strict=False):
                layer.weights = row
            merged = model if layers else DenselyMerged(model, dense, weights)
            _loss(encode(merged)).backward()

        dense = [] if layers else [dict(vector) for vector in vectors]
        benchmark.pedantic(step, rounds=8, warmup_rounds=1)


def _loss(vectors: torch.Tensor) -> torch.Tensor:
    return torch.logsumexp(vectors @ vectors.T / 0.1, dim=1).mean()


def _random_task_vectors(model: nn.Module) -> list[LowRank]:
    shapes = {f"{n}.weight": m.weight.shape for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    torch.manual_seed(0)
    return [
        LowRank({n: (0.01 * torch.randn(out, RANK), torch.randn(RANK, into)) for n, (out, into) in shapes.items()})
        for _ in range(COMPONENTS)
    ]
