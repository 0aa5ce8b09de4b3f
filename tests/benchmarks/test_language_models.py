"""Speeds of the language-model heads, as pairs in one run: what counts is the ratio within a group."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from harness.data.domain import Sequences
from harness.data.prepare import prepare
from harness.datasets import load_dataset
from harness.protocol.split import LeaveOneOut
from tests.weaverec.decoders import decoder
from weaverec.backbone import load
from weaverec.batching import padding_share, token_batches
from weaverec.prompt import PromptSettings, prompt_tokens, title_tokens
from weaverec.ranker import likelihoods
from weaverec.retriever import RetrieverSettings, reading_of
from weaverec.training import LoraSettings, adapted

USERS = 24


@pytest.fixture(scope="module")
def beauty():
    folder = Path(os.environ.get("CDSR_DATA", "data"))
    if not (folder / "amazon2014" / "Beauty").is_dir():
        pytest.skip("Amazon Beauty is not in CDSR_DATA")
    return LeaveOneOut().training(prepare(load_dataset("amazon2014-beauty").source.open("beauty", folder), 1))


@pytest.fixture
def qwen2(tmp_path_factory: pytest.TempPathFactory):
    torch.set_num_threads(1)
    backbone = decoder("qwen2", tmp_path_factory.mktemp("qwen2"), hidden_size=256, num_hidden_layers=4)
    return backbone, *load(backbone)


@pytest.mark.parametrize("way", ["one pass a history", "one prompt a prefix"])
def test_retriever_training(benchmark, beauty, qwen2, way: str) -> None:
    """Forward and backward over all prefixes of users of Amazon Beauty; the items' side is the same and left out."""
    benchmark.group = "training a decoder-only retriever"
    backbone, base, tokenizer = qwen2
    model = adapted(base, backbone, LoraSettings())
    reading = reading_of(backbone, beauty.catalogue, tokenizer, RetrieverSettings())
    drawn = np.random.default_rng(0).permutation(np.flatnonzero(beauty.train.lengths > 1))[:USERS]
    own = beauty.train.select(drawn)
    prompts = Sequences.of([items[:end] for items in own for end in range(1, len(items))])
    vectors = F.normalize(torch.randn(len(reading), 256), dim=-1)
    targets = torch.from_numpy(np.concatenate([items[1:] for items in own]))

    def step() -> None:
        if way == "one pass a history":
            states = reading.prefixes(model, own, vectors).vectors
        else:
            states = reading.histories(model, prompts, vectors)
        F.cross_entropy(states @ vectors.T / 0.1, targets).backward()

    benchmark.extra_info["prefixes"] = len(targets)
    benchmark.pedantic(step, rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("way", ["the prompt's keys kept", "prompt and candidate"])
def test_likelihoods_of_30_candidates(benchmark, beauty, tmp_path_factory, way: str) -> None:
    """Scoring a user's 30 candidates."""
    benchmark.group = "ranking 30 candidates"
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("ranker")
    model, tokenizer = load(decoder("qwen2", folder, hidden_size=256, num_hidden_layers=4), "tokens")
    titles = beauty.catalogue.texts
    prompt = prompt_tokens(titles, beauty.train[0], np.arange(30), tokenizer, PromptSettings())
    answers = title_tokens(titles, np.arange(30), tokenizer)
    kept = way == "the prompt's keys kept"
    benchmark.pedantic(likelihoods, (model, prompt, answers, kept), rounds=5, warmup_rounds=1)


def test_padding_of_real_texts(benchmark, beauty, qwen2) -> None:
    """Cutting a catalogue's texts into batches; the share of padding is what it says beside the time."""
    _, _, tokenizer = qwen2
    lengths = np.array([len(ids) for ids in tokenizer(list(beauty.catalogue.texts))["input_ids"]])
    batches = benchmark(token_batches, lengths, 4096)
    benchmark.extra_info["padding"] = padding_share(lengths, batches)
    assert padding_share(lengths, batches) <= 0.05
