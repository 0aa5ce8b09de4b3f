"""Speed comparisons in one run; compare within a group only. Run with: make bench."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.recbole_models.building import RecBoleSettings, build
from baselines.recbole_models.corpus import Corpus
from baselines.recbole_models.softmax import catalogue_softmax
from baselines.recbole_models.training import train_epoch
from baselines.recbole_models.training_paths import TrainingPath
from harness.data.prepare import prepare
from harness.datasets import load_dataset
from harness.evaluation.rank_scorer import rank_full
from harness.methods.api import DotProduct
from harness.protocol.split import LeaveOneOut
from weaverec.lm.backbone import find_backbone, load
from weaverec.merging.task_vectors import fold, task_vector, weighted_sum
from weaverec.retriever.encoding import RetrieverSettings, catalogue_vectors, history_encoder

LENGTH = 20


@pytest.fixture(scope="module")
def domain():
    torch.set_num_threads(1)
    return prepare(load_dataset("movielens-100k-action").source.open("action", Path()), 5)


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec"])
@pytest.mark.parametrize("path", [TrainingPath.ONE_PASS, TrainingPath.TRIMMED, TrainingPath.WHOLE])
def test_training_128_users(benchmark, domain, model: str, path: TrainingPath) -> None:
    """An epoch over all prefixes of 128 users. For a comparison with RecBole's trainer, see `recbole_trainer`."""
    benchmark.group = f"training {model}"
    training = LeaveOneOut().training(domain)
    corpus = Corpus.of(replace(training, train=training.train.select(np.arange(128))))
    settings = RecBoleSettings(model, "CE", max_length=LENGTH, stride=LENGTH // 2)
    built = build(settings, corpus, prefixes=True)
    built.model.train()
    optimiser = torch.optim.Adam(built.model.parameters())

    def epoch() -> None:
        train_epoch(built, corpus, path, settings, optimiser, np.random.default_rng(0))

    benchmark.pedantic(epoch, rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("variant", ["in blocks", "in blocks, bfloat16", "whole"])
def test_catalogue_softmax(benchmark, variant: str) -> None:
    """Cross-entropy of 2,048 states over 12,101 items, forward and backward."""
    benchmark.group = "catalogue softmax"
    torch.set_num_threads(1)
    items, states = (torch.randn(n, 64).requires_grad_() for n in (12_101, 2_048))
    targets = torch.randint(1, 12_101, (2_048,))
    precision = torch.bfloat16 if "bfloat16" in variant else torch.float32

    def step() -> None:
        with nullcontext() if variant == "whole" else catalogue_softmax(12_101, precision):
            loss = torch.nn.functional.cross_entropy(states @ items.T, targets)
        loss.backward()

    benchmark.pedantic(step, rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("variant", ["blocks", "user by user"])
def test_full_ranking(benchmark, domain, variant: str) -> None:
    """Rank every test user's item in the catalogue: in blocks, and one user at a time."""
    benchmark.group = "full ranking"
    test = LeaveOneOut().test(domain)
    n_items = len(domain.catalogue)
    rng = np.random.default_rng(0)
    items = rng.normal(size=(n_items, 64)).astype(np.float32)
    users = rng.normal(size=(len(domain.user_ids), 64)).astype(np.float32)
    scorer = DotProduct(items, lambda histories: users[histories.users])

    def user_by_user() -> list[int]:
        ranks = []
        for row, target in enumerate(test.targets):
            scores = items @ users[row]
            scores[test.histories.sequences[row]] = -np.inf
            ranks.append(int((scores > items[target] @ users[row]).sum()))
        return ranks

    if variant == "blocks":
        benchmark(rank_full, scorer, test, n_items)
    else:
        benchmark(user_by_user)


@pytest.mark.parametrize("served", ["base", "merged", "with its adapter"])
def test_serving(benchmark, domain, tmp_path, served: str) -> None:
    """Encode a catalogue: a merged model should take as long as the base model."""
    from peft import LoraConfig, get_peft_model

    benchmark.group = "serving"
    model, tokenizer = load(find_backbone("minilm"))
    reading = history_encoder(find_backbone("minilm"), domain.catalogue, tokenizer, RetrieverSettings())
    if served != "base":
        adapted = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))
        if served == "merged":
            adapted.save_pretrained(tmp_path, save_embedding_layers=False)
            model = fold(load(find_backbone("minilm"))[0], weighted_sum([task_vector(tmp_path)], [1.0]))
        else:
            model = adapted.eval()

    benchmark.pedantic(catalogue_vectors, (model, reading), rounds=5, warmup_rounds=1)
