"""A real model on real prompts."""

import numpy as np
import pytest
import torch

from tests.weaverec.ranker.films import comedies, real_prompts, skip_without_smollm2
from weaverec.lm.backbone import find_backbone, load
from weaverec.ranker.likelihood import likelihoods, packable
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
