"""A real model on real prompts."""

from pathlib import Path

import numpy as np
import pytest
import torch

from harness.methods.api import FitContext
from harness.protocol.split import TrainingData
from harness.protocol.suite import Budget
from harness.run.artefact import RunArtefacts
from harness.storage.store import Store
from tests.weaverec.ranker.films import comedies, real_prompts, skip_without_smollm2
from weaverec.lm.backbone import find_backbone, load
from weaverec.ranker.attention import packable
from weaverec.ranker.likelihood import likelihoods
from weaverec.ranker.method import by_name
from weaverec.ranker.prompt import PromptSettings


@pytest.mark.slow
def test_smollm2_s_scores_are_those_of_one_plain_pass_for_each_candidate() -> None:
    """For 100 users, one candidate each; each pass alone, without a cache, in float32."""
    skip_without_smollm2()
    model, tokenizer = load(find_backbone("smollm2"), "tokens")
    assert packable(model)
    differences = []
    for number, (prompt, titles) in enumerate(real_prompts(comedies(), tokenizer, PromptSettings(history=5), 100)):
        assert tokenizer.decode(prompt).endswith("<|im_start|>assistant\n")
        scores = likelihoods(model, prompt, titles)
        assert scores.shape == (30,)
        title = titles[number % 30]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prompt, *title]])).logits[0, len(prompt) - 1 : -1]
        expected = logits.log_softmax(-1)[torch.arange(len(title)), torch.tensor(title)].mean()
        differences.append(abs(float(scores[number % 30] - expected)))
    print(f"largest difference: {max(differences):.2e}")
    assert np.max(differences) < 1e-3


@pytest.mark.slow
def test_smollm2_trains_ranks_and_writes_lists(tmp_path: Path) -> None:
    skip_without_smollm2()
    domain = comedies()
    data = TrainingData("comedy", (), {"comedy": domain})
    context = FitContext(Budget(1, 1, 1), 0, "cpu", RunArtefacts(Store(tmp_path), "cpu", lambda *_: None))
    few = {"backbone": "smollm2", "prompt.history": 3, "prompt.candidates": 6, "prompt.answers": 3}
    short = {**few, "steps": 1, "batch": 2, "cap": 4, "validation_users": 2, "learning_rate": 1e-3}
    some = domain.validation.histories.block(0, 4)
    candidates = np.array([[*range(5), target] for target in domain.validation.targets[:4].tolist()])
    before, after = (
        by_name(name).tuned(settings).fit(data, context).score(some, candidates)
        for name, settings in (("zero-shot", few), ("target-only", short))
    )
    assert before.shape == after.shape == (4, 6)
    assert np.isfinite(after).all()
    assert not np.allclose(before, after, atol=1e-4)
    # Most of what an instruction model writes is usable, although nobody trained it for this.
    writer = by_name("zero-shot").tuned({**few, "by_list": True, "answer": "list"}).fit(data, context)
    lists = writer.score(some, candidates)
    validity = writer.validity()
    print(validity)
    assert validity["answers"] == 4
    assert validity["nothing usable"] <= 0.5
    assert (np.isfinite(lists).sum(axis=1) <= 3).all()
