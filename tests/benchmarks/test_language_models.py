"""Speed comparisons of the language-model heads in one run; compare within a group only."""

import numpy as np
import pytest
import torch

from harness.errors import HarnessError
from tests.benchmarks import prefixes
from tests.weaverec.decoders import decoder
from weaverec.lm.backbone import load
from weaverec.lm.batching import padding_share, token_batches
from weaverec.ranker.prompt import PromptSettings, prompt_tokens, title_tokens
from weaverec.ranker.scorer import likelihoods


@pytest.fixture(scope="module")
def domain():
    try:
        return prefixes.beauty()
    except HarnessError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("way", prefixes.WAYS)
def test_retriever_training(benchmark, domain, tmp_path, way: str) -> None:
    """Forward and backward over all prefixes of users of Amazon Beauty."""
    benchmark.group = "training a decoder-only retriever"
    torch.set_num_threads(1)
    benchmark.extra_info["prefixes"], ways = prefixes.steps(domain, tmp_path)
    benchmark.pedantic(ways[way], rounds=2)


@pytest.mark.parametrize("way", ["the prompt's keys kept", "prompt and candidate"])
def test_likelihoods_of_30_candidates(benchmark, domain, tmp_path_factory, way: str) -> None:
    """Score 30 candidates of a user."""
    benchmark.group = "ranking 30 candidates"
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("ranker")
    model, tokenizer = load(decoder("qwen2", folder, hidden_size=256, num_hidden_layers=4), "tokens")
    titles = domain.catalogue.texts
    prompt = prompt_tokens(titles, domain.train[0], np.arange(30), tokenizer, PromptSettings())
    answers = title_tokens(titles, np.arange(30), tokenizer)
    kept = way == "the prompt's keys kept"
    benchmark.pedantic(likelihoods, (model, prompt, answers, kept), rounds=5, warmup_rounds=1)


def test_padding_of_real_texts(benchmark, domain, tmp_path) -> None:
    """Batch the texts of a catalogue; the share of padding is reported with the time."""
    _, tokenizer = load(decoder("qwen2", tmp_path))
    lengths = np.array([len(ids) for ids in tokenizer(list(domain.catalogue.texts))["input_ids"]])
    batches = benchmark(token_batches, lengths, 4096)
    benchmark.extra_info["padding"] = padding_share(lengths, batches)
    assert padding_share(lengths, batches) <= 0.05
