"""Speeds, as pairs in one run: what counts is the ratio within a group. Run with: make bench."""

from pathlib import Path

import numpy as np
import pytest
import torch
from baselines.recbole_training import TrainingSettings, all_prefix_loss, windows_of

from baselines.recbole_models import RecBoleSettings, build_model
from harness.data.prepare import prepare
from harness.datasets import load_dataset
from harness.evaluate import rank_full
from harness.method import DotProduct
from harness.protocol.split import LeaveOneOut
from weaverec.backbone import load, packaged_minilm
from weaverec.merge import fold, task_vector, weighted_sum
from weaverec.retriever import ItemTexts

LENGTH = 20


@pytest.fixture(scope="module")
def domain():
    torch.set_num_threads(1)
    return prepare(load_dataset("movielens-100k-action").source.open("action", Path()), 5)


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec"])
@pytest.mark.parametrize("path", ["one pass", "per prefix"])
def test_training_128_users(benchmark, domain, model: str, path: str) -> None:
    """Forward and backward over all prefixes of 128 users: one pass a sequence against one a prefix."""
    benchmark.group = f"training {model}"
    train = LeaveOneOut().training(domain).train.select(np.arange(128))
    settings = RecBoleSettings(model, {}, TrainingSettings(max_length=LENGTH))
    built = build_model(settings, len(domain.catalogue)).train()
    windows = windows_of(train, LENGTH)

    def one_pass() -> None:
        for start in range(0, len(windows.inputs), 64):
            rows = slice(start, start + 64)
            all_prefix_loss(built, windows.inputs[rows], windows.targets[rows]).backward()

    prefixes = [s[max(0, end - LENGTH) : end] + 1 for s in train for end in range(1, len(s))]
    targets = torch.from_numpy(np.concatenate([s[1:] + 1 for s in train]))
    inputs = torch.zeros((len(prefixes), LENGTH), dtype=torch.long)
    for row, prefix in enumerate(prefixes):
        inputs[row, : len(prefix)] = torch.from_numpy(prefix)

    def per_prefix() -> None:
        # RecBole's own batch size.
        for rows in torch.arange(len(prefixes)).split(2048):
            batch = {
                built.ITEM_SEQ: inputs[rows],
                built.ITEM_SEQ_LEN: (inputs[rows] > 0).sum(1),
                built.POS_ITEM_ID: targets[rows],
            }
            built.calculate_loss(batch).backward()

    benchmark.pedantic(one_pass if path == "one pass" else per_prefix, rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("way", ["blocks", "user by user"])
def test_full_ranking(benchmark, domain, way: str) -> None:
    """Ranking every test user's item in the catalogue: in blocks against one user at a time."""
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

    if way == "blocks":
        benchmark(rank_full, scorer, test, n_items)
    else:
        benchmark(user_by_user)


@pytest.mark.parametrize("served", ["base", "merged", "with its adapter"])
def test_serving(benchmark, domain, tmp_path, served: str) -> None:
    """Encoding a catalogue: a merged model should cost what the base costs."""
    from peft import LoraConfig, get_peft_model

    benchmark.group = "serving"
    model, tokenizer = load(packaged_minilm())
    texts = ItemTexts(domain.catalogue.texts, tokenizer, 32)
    if served != "base":
        adapted = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))
        if served == "merged":
            adapted.save_pretrained(tmp_path, save_embedding_layers=False)
            model = fold(load(packaged_minilm())[0], weighted_sum([task_vector(tmp_path)], [1.0]))
        else:
            model = adapted.eval()

    def encode() -> None:
        with torch.no_grad():
            texts.vectors(model)

    benchmark.pedantic(encode, rounds=5, warmup_rounds=1)
