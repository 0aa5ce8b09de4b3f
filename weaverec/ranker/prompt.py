"""The ranker's prompt: the titles of a history, and shuffled candidates; the answer is a list of titles."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge

from harness.data.domain import Ints

#: Between the titles of an answer, and after the last.
END_OF_TITLE = "\n"

#: Shown for an item without a title.
_UNTITLED = "(untitled)"

#: Stands before the titles of the history.
_CHOSEN = "The user chose:\n"

#: Stands before the titles of the candidates.
_CANDIDATES = "\n\nCandidates:\n"

_TASK = (
    "You recommend items. You are given the items that a user chose, oldest first, and a list of candidates. "
    "Answer with the titles of the {answers} candidates that the user is most likely to choose next, most likely "
    "first, one title a line, written exactly as in the list, and nothing else."
)
_TASK_WITHOUT_LIST = (
    "You recommend items. You are given the items that a user chose, oldest first. Answer with the titles of the "
    "{answers} items that the user is most likely to choose next, most likely first, one title a line, and nothing "
    "else."
)


@dataclass(frozen=True)
class PromptSettings:
    """What a prompt holds.

    Attributes:
        history: the latest items of a history that are shown.
        listed: list the candidates, as the WeaveRec authors do. Without the list, prompts are shorter, nothing can be
            copied from them, and the likelihoods of the same candidates are compared.
        candidates: candidates that a training prompt lists, the next item included; and how many are ranked at most.
        answers: titles that an answer lists.
        max_tokens: a prompt of more tokens shows fewer items of the history; the latest stays.
        title_tokens: a title of more tokens is cut, in prompts and in answers: data sets have pages of description
            where a title should be.
    """

    history: Annotated[int, Ge(1)] = 20
    listed: bool = True
    candidates: Annotated[int, Ge(2)] = 30
    answers: Annotated[int, Ge(1)] = 5
    max_tokens: Annotated[int, Ge(1)] = 1200
    title_tokens: Annotated[int, Ge(1)] = 64


@dataclass(frozen=True)
class Prompt:
    """A prompt up to the answer, in the model's chat template if it has one.

    Attributes:
        tokens: of the text.
        history: start and end of each title of the history that is shown, and its line break, as indices of tokens.
    """

    tokens: list[int]
    history: list[tuple[int, int]]


def prompt_tokens(
    titles: Sequence[str], history: Ints, candidates: Ints, tokenizer: Any, settings: PromptSettings
) -> list[int]:
    """The tokens of a prompt; see `make_prompt`."""
    return make_prompt(titles, history, candidates, tokenizer, settings).tokens


def make_prompt(
    titles: Sequence[str], history: Ints, candidates: Ints, tokenizer: Any, settings: PromptSettings
) -> Prompt:
    """A prompt about one history.

    Args:
        titles: the catalogue's texts.
        history: int64 [n], oldest first.
        candidates: int64 [n], in the order in which they are listed, if they are.
        tokenizer: of the backbone; a fast one, which knows the place of each token in the text.
        settings: what is shown.
    """
    chosen = shown_titles(titles, history[-settings.history :], tokenizer, settings)
    offered = shown_titles(titles, candidates, tokenizer, settings) if settings.listed else []
    while True:
        prompt = _prompt(chosen, offered, tokenizer, settings)
        if len(prompt.tokens) <= settings.max_tokens or len(chosen) <= 1:
            return prompt
        chosen = chosen[1:]


def system_message(settings: PromptSettings) -> str:
    """What the model is told to do."""
    return (_TASK if settings.listed else _TASK_WITHOUT_LIST).format(answers=settings.answers)


def user_message(chosen: Sequence[str], offered: Sequence[str], settings: PromptSettings) -> str:
    """What the model is shown: titles of the history, and of candidates if they are listed."""
    shown = _CHOSEN + END_OF_TITLE.join(chosen)
    return shown + _CANDIDATES + END_OF_TITLE.join(offered) if settings.listed else shown


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


def _prompt(chosen: list[str], offered: list[str], tokenizer: Any, settings: PromptSettings) -> Prompt:
    task, shown = system_message(settings), user_message(chosen, offered, settings)
    template = getattr(tokenizer, "chat_template", None)
    if template:
        messages = [{"role": "system", "content": task}, {"role": "user", "content": shown}]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    else:
        text = f"{task}\n\n{shown}\n\nAnswer:\n"
    # A chat template writes the special tokens itself.
    read = tokenizer(text, add_special_tokens=not template, return_offsets_mapping=True)
    starts = [start for start, _ in read["offset_mapping"]]
    first = text.index(_CHOSEN) + len(_CHOSEN)
    ends = list(accumulate((len(title) + len(END_OF_TITLE) for title in chosen), initial=first))
    if not text.startswith(END_OF_TITLE, ends[-1] - len(END_OF_TITLE)):  # the message may end with the last title
        ends[-1] -= len(END_OF_TITLE)
    places = [bisect_left(starts, end) for end in ends]
    return Prompt(list(read["input_ids"]), list(pairwise(places)))
