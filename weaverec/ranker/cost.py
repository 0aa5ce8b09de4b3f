"""What training and scoring a ranker cost, from the mean length of some prompts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness.data.domain import Ints
from harness.methods.artefact import TrainingEstimate
from harness.protocol.split import DomainTraining
from harness.protocol.suite import Budget
from weaverec.lm.backbone import Backbone, load_tokenizer, sizes_of
from weaverec.lm.lora import estimate
from weaverec.ranker.prompt import PromptSettings, prompt_tokens, title_tokens

if TYPE_CHECKING:
    from weaverec.ranker.train import RankerSettings

#: Prompts of a domain whose tokens are counted.
_SAMPLE = 50


@dataclass(frozen=True)
class PromptLength:
    """Mean tokens of some prompts.

    Attributes:
        prompt: of a prompt.
        title: of a candidate's title, as an answer.
    """

    prompt: float
    title: float


def prompt_length(
    histories: Sequence[Ints], domain: DomainTraining, tokenizer: Any, settings: PromptSettings, candidates: int
) -> PromptLength:
    """The mean length of prompts with random candidates.

    Args:
        histories: items of each prompt's history.
        domain: whose items they are.
        tokenizer: of the backbone.
        settings: of the prompt.
        candidates: that each prompt offers.
    """
    rng, texts, n_items = np.random.default_rng(0), domain.catalogue.texts, len(domain.catalogue)
    prompts, titles = [], []
    for history in histories:
        offered = rng.choice(n_items, min(candidates, n_items), replace=False)
        prompts.append(len(prompt_tokens(texts, history, offered, tokenizer, settings)))
        titles += [len(title) for title in title_tokens(texts, offered, tokenizer, settings)]
    return PromptLength(float(np.mean(prompts)), float(np.mean(titles))) if prompts else PromptLength(0.0, 0.0)


def validation_prompt_length(
    domain: DomainTraining, tokenizer: Any, settings: PromptSettings, candidates: int
) -> PromptLength:
    """The mean length of prompts of some validation users; see `prompt_length`."""
    histories = domain.validation.histories.sequences
    rows = np.random.default_rng(0).permutation(len(histories))[:_SAMPLE]
    return prompt_length([histories[int(row)] for row in rows], domain, tokenizer, settings, candidates)


def forward_flops(backbone: Backbone, read: float, predicted: float) -> float:
    """Operations of a forward pass: two a weight and token, those of the vocabulary only where a token is predicted.

    Args:
        backbone: the model.
        read: tokens that go through it.
        predicted: tokens whose probabilities are computed.
    """
    sizes = sizes_of(backbone)
    return 2.0 * (sizes.multiplied * read + sizes.hidden * sizes.vocabulary * predicted)


def training_estimate(
    backbone: Backbone, domains: Sequence[DomainTraining], settings: "RankerSettings", budget: Budget
) -> TrainingEstimate:
    """Estimate a component's training. In a validation, each prompt is read with the titles of all its candidates."""
    tokenizer, prompt = load_tokenizer(backbone), settings.prompt
    lengths, learned, prompts, read, titles = [], [], 0, 0.0, 0.0
    for domain in domains:
        prefixes = _prefixes(domain)
        lengths += [prompt_length(prefixes, domain, tokenizer, prompt, prompt.candidates)]
        learned += [min(len(prefix), prompt.history) for prefix in prefixes] if settings.learn_history else []
        of_users = np.clip(domain.train.lengths - 1, 0, settings.prompts_per_user)
        prompts += min(settings.cap, int(of_users.sum()))
        validated = min(settings.validation_users, len(domain.validation.targets))
        length = validation_prompt_length(domain, tokenizer, prompt, prompt.candidates)
        read += validated * (length.prompt + prompt.candidates * length.title)
        titles += validated * prompt.candidates * length.title
    n_titles = prompt.answers if settings.answer == "list" else 1
    a_title = float(np.mean([each.title for each in lengths]))
    an_answer = n_titles * a_title + 1
    an_example = float(np.mean([each.prompt for each in lengths])) + an_answer
    if learned:
        an_answer += float(np.mean(learned)) * a_title
    epochs = min(settings.epochs, budget.epochs)
    steps = min(settings.steps * len(domains), -(-epochs * prompts // settings.batch))
    trained = min(epochs * prompts, steps * settings.batch)
    validations = -(-steps // (settings.validate_every * len(domains)))
    taken = estimate(
        backbone,
        settings,
        trained * an_example,
        validations * read,
        settings.most_tokens,
        getattr(torch, settings.weights),
        predicted=settings.most_tokens * an_answer / an_example,
    )
    # Forward, and backward without gradients of the frozen weights; checkpointing adds a forward pass.
    passes = 3 if settings.checkpointing else 2
    flops = passes * forward_flops(backbone, trained * an_example, trained * an_answer)
    return replace(taken, flops=flops + validations * forward_flops(backbone, read, titles))


def _prefixes(domain: DomainTraining) -> list[Ints]:
    """The histories of some training prompts."""
    rng, sequences = np.random.default_rng(0), domain.train
    rows = np.flatnonzero(sequences.lengths > 1)
    drawn = rng.choice(rows, _SAMPLE) if len(rows) else rows
    return [sequences[int(row)][: rng.integers(1, sequences.lengths[row])] for row in drawn]
