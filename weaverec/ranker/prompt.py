"""The ranker's prompt: the titles of a history, then shuffled candidates; the answer is a list of titles."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge

from harness.data.domain import Ints

#: Between the titles of an answer, and after the last.
END_OF_TITLE = "\n"

#: Shown for an item without a title.
_UNTITLED = "(untitled)"

#: The system message.
TASK = (
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
        max_tokens: a prompt of more tokens shows fewer items of the history; the latest stays.
        title_tokens: a title of more tokens is cut, in prompts and in answers: data sets have pages of description
            where a title should be.
    """

    history: Annotated[int, Ge(1)] = 20
    candidates: Annotated[int, Ge(2)] = 30
    answers: Annotated[int, Ge(1)] = 5
    max_tokens: Annotated[int, Ge(1)] = 1200
    title_tokens: Annotated[int, Ge(1)] = 64


def prompt_tokens(
    titles: Sequence[str], history: Ints, candidates: Ints, tokenizer: Any, settings: PromptSettings
) -> list[int]:
    """The tokens of a prompt up to the answer, in the model's chat template if it has one.

    Args:
        titles: the catalogue's texts.
        history: int64 [n], oldest first.
        candidates: int64 [n], in the order in which they are offered.
        tokenizer: of the backbone.
        settings: what is shown.
    """
    chosen = shown_titles(titles, history[-settings.history :], tokenizer, settings)
    offered = shown_titles(titles, candidates, tokenizer, settings)
    while True:
        tokens = _tokens(chosen, offered, tokenizer, settings)
        if len(tokens) <= settings.max_tokens or len(chosen) <= 1:
            return tokens
        chosen = chosen[1:]


def shuffled(candidates: Ints, user: int, seed: int) -> Ints:
    """Candidates in an order that depends on the user and the seed alone, so that positions carry no information."""
    return np.random.default_rng([seed, user]).permutation(np.sort(candidates))


def shown_titles(titles: Sequence[str], items: Ints, tokenizer: Any, settings: PromptSettings) -> list[str]:
    """Items' titles as prompts and answers have them: not too long, and never a blank line."""
    shown = [titles[item] or _UNTITLED for item in items]
    # A token has at least one byte, so only these can be too long.
    long = [row for row, title in enumerate(shown) if len(title.encode()) > settings.title_tokens]
    for row in long:
        tokens = tokenizer(shown[row], add_special_tokens=False)["input_ids"]
        if len(tokens) > settings.title_tokens:
            # The cut may go through a letter of several bytes.
            shown[row] = tokenizer.decode(tokens[: settings.title_tokens]).strip("\ufffd ")
    return shown


def title_tokens(titles: Sequence[str], items: Ints, tokenizer: Any, settings: PromptSettings) -> list[list[int]]:
    """The tokens of items' titles as they stand in an answer, each with the end of its line."""
    # Title and line break are tokenized together: some tokenizers have one token for `)` and a line break.
    lines = [title + END_OF_TITLE for title in shown_titles(titles, items, tokenizer, settings)]
    tokens: list[list[int]] = tokenizer(lines, add_special_tokens=False)["input_ids"]
    return tokens


def _tokens(chosen: list[str], offered: list[str], tokenizer: Any, settings: PromptSettings) -> list[int]:
    def listed(titles: list[str]) -> str:
        return "\n".join(f"{number}. {title}" for number, title in enumerate(titles, start=1))

    messages = [
        {"role": "system", "content": TASK.format(answers=settings.answers)},
        {"role": "user", "content": f"The user chose:\n{listed(chosen)}\n\nCandidates:\n{listed(offered)}"},
    ]
    if getattr(tokenizer, "chat_template", None):
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    return list(tokenizer("\n\n".join(m["content"] for m in messages) + "\n\nAnswer:\n")["input_ids"])
