"""The ranker's prompt: the titles of a history, then shuffled candidates; the answer is a list of titles."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.data.domain import Ints

#: Between the titles of an answer, and after the last.
END_OF_TITLE = "\n"

_TASK = (
    "You recommend items. You are given the items that a user chose, oldest first, and a list of candidates. "
    "Answer with the titles of the {answers} candidates that the user is most likely to choose next, most likely "
    "first, one title a line, written exactly as in the list, and nothing else."
)


@dataclass(frozen=True)
class PromptSettings:
    """What a prompt holds.

    Attributes:
        history: the latest items of a history that are shown.
        candidates: candidates that a training prompt offers, the next item included.
        answers: titles that an answer lists.
        max_tokens: a prompt of more tokens shows fewer items of the history, the latest last to go.
    """

    history: int = 20
    candidates: int = 30
    answers: int = 5
    max_tokens: int = 1200


def prompt_tokens(
    titles: Sequence[str], history: Ints, candidates: Ints, tokenizer: Any, settings: PromptSettings
) -> list[int]:
    """The tokens of a prompt, in the model's chat template if it has one, up to where the answer begins.

    Args:
        titles: the catalogue's texts.
        history: int64 [n], oldest first.
        candidates: int64 [n], in the order in which they are offered.
        tokenizer: of the backbone.
        settings: what is shown.
    """
    shown = history[-settings.history :]
    while True:
        tokens = _tokens(titles, shown, candidates, tokenizer, settings)
        if len(tokens) <= settings.max_tokens or not len(shown):
            return tokens
        shown = shown[1:]


def shuffled(candidates: Ints, user: int, seed: int) -> Ints:
    """Candidates in an order that depends on the user and the seed alone, so that places tell nothing."""
    return np.random.default_rng([seed, user]).permutation(np.sort(candidates))


def title_tokens(titles: Sequence[str], items: Ints, tokenizer: Any) -> list[list[int]]:
    """The tokens of items' titles as they stand in an answer, each with the end of its line."""
    # Together, as a text is cut where it is written: some tokenizers have one token for `)` and a line break.
    lines = [titles[item] + END_OF_TITLE for item in items]
    found: list[list[int]] = tokenizer(lines, add_special_tokens=False)["input_ids"]
    return found


def _tokens(
    titles: Sequence[str], history: Ints, candidates: Ints, tokenizer: Any, settings: PromptSettings
) -> list[int]:
    def listed(items: Ints) -> str:
        return "\n".join(f"{number}. {titles[item]}" for number, item in enumerate(items, start=1))

    messages = [
        {"role": "system", "content": _TASK.format(answers=settings.answers)},
        {"role": "user", "content": f"The user chose:\n{listed(history)}\n\nCandidates:\n{listed(candidates)}"},
    ]
    if getattr(tokenizer, "chat_template", None):
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    return list(tokenizer("\n\n".join(m["content"] for m in messages) + "\n\nAnswer:\n")["input_ids"])
