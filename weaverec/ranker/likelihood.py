"""The likelihoods of candidates' titles after a prompt.

The score of a candidate is the mean log-probability of its title's tokens as the answer's first line. All titles after
one prompt go through the model in one row: prompt, title 1, title 2, and so on. Each title's tokens see the prompt and
the title's own tokens before them, and their positions go on from the prompt's end, so the result is that of one pass a
title. What all prompts begin with, such as the chat template's system message, goes through the model once.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import nn

from weaverec.lm.batching import padded, token_batches

#: Kinds of models whose positions are given by `position_ids` and whose attention takes a mask for each pair of tokens.
PACKABLE = ("llama", "qwen2", "qwen3")

#: A shorter common beginning is not worth a pass of its own.
_LEAST_SHARED = 16


def likelihoods(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[Sequence[int]]],
    most_tokens: int = 8192,
) -> list[torch.Tensor]:
    """The mean log-probability of each answer's tokens after its prompt.

    Args:
        model: a decoder-only model with logits.
        prompts: n prompts' tokens.
        answers: of each prompt, the tokens of its answers, each at least one.
        most_tokens: tokens that go through the model at once.

    Returns:
        n tensors, float32 [number of the prompt's answers], on the CPU.
    """
    with torch.no_grad():
        if not packable(model):
            return [_after_one(model, prompt, each) for prompt, each in zip(prompts, answers, strict=True)]
        start = shared_start(model, prompts)
        rows = [_Row.of(prompt[start.length :], each) for prompt, each in zip(prompts, answers, strict=True)]
        scores = [torch.zeros(0)] * len(rows)
        for batch in token_batches(np.array([len(row) for row in rows]), most_tokens):
            for index, of_row in zip(batch, _scores(model, [rows[row] for row in batch], start), strict=True):
                scores[index] = of_row
        return scores


def packable(model: nn.Module) -> bool:
    """Whether several answers may stand in one row of a model."""
    network: Any = model
    config = network.config
    full = all(kind == "full_attention" for kind in getattr(config, "layer_types", None) or ())
    return config.model_type in PACKABLE and full and config._attn_implementation == "sdpa"


@dataclass(frozen=True)
class SharedStart:
    """What several prompts begin with, read once.

    Attributes:
        length: its number of tokens; 0 where nothing is shared.
        cache: its keys and values, for one row.
    """

    length: int = 0
    cache: Any = None

    def arguments(self, rows: int) -> dict[str, Any]:
        """The model's arguments for some rows that go on from here."""
        if not self.length:
            return {"use_cache": False}
        cache = copy.deepcopy(self.cache)  # the model adds to it
        cache.batch_repeat_interleave(rows)
        return {"use_cache": True, "past_key_values": cache}


def shared_start(model: nn.Module, prompts: Sequence[Sequence[int]]) -> SharedStart:
    """Read what several prompts begin with; a token of each remains, at least."""
    from transformers import DynamicCache

    network: Any = model
    longest = min(map(len, prompts), default=1) - 1
    columns = enumerate(islice(zip(*prompts, strict=False), longest))
    length = next((column for column, tokens in columns if len(set(tokens)) > 1), longest)
    if len(prompts) < 2 or length < _LEAST_SHARED:
        return SharedStart()
    cache = DynamicCache(config=network.config)
    ids = torch.tensor([list(prompts[0][:length])], device=next(model.parameters()).device)
    network(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return SharedStart(length, cache)


@dataclass(frozen=True)
class _Row:
    """A prompt and its answers, as one row of tokens.

    Attributes:
        prompt: the prompt's tokens.
        tokens: int64, all answers' tokens but the last of each, which predicts nothing.
        answer_of: int64, the answer that each of these belongs to.
        positions: int64, their positions after the prompt.
        predicted: int64, the tokens of all answers, one answer after the other.
        predicted_by: int64, the column of the logits that predicts each of them: 0 is the prompt's end, 1 + i is after
            `tokens[i]`.
        lengths: tokens of each answer.
    """

    prompt: Sequence[int]
    tokens: np.ndarray[Any, np.dtype[np.int64]]
    answer_of: np.ndarray[Any, np.dtype[np.int64]]
    positions: np.ndarray[Any, np.dtype[np.int64]]
    predicted: np.ndarray[Any, np.dtype[np.int64]]
    predicted_by: np.ndarray[Any, np.dtype[np.int64]]
    lengths: list[int]

    @classmethod
    def of(cls, prompt: Sequence[int], answers: Sequence[Sequence[int]]) -> "_Row":
        lengths = np.array([len(answer) for answer in answers])
        position = np.concatenate([np.arange(length) for length in lengths])
        answer_of = np.repeat(np.arange(len(answers)), lengths)
        tokens = np.concatenate([np.asarray(answer, dtype=np.int64) for answer in answers])
        is_read = position < lengths[answer_of] - 1
        # After the token before it; the first of each is predicted by the prompt's end.
        before = np.cumsum(is_read) - is_read
        return cls(
            prompt,
            tokens[is_read],
            answer_of[is_read],
            position[is_read],
            tokens,
            np.where(position == 0, 0, before),
            lengths.tolist(),
        )

    def __len__(self) -> int:
        return len(self.prompt) + len(self.tokens)


def _scores(model: nn.Module, rows: Sequence[_Row], start: SharedStart) -> Iterator[torch.Tensor]:
    """The mean log-probabilities of the answers of some rows, float32 [n_answers] each."""
    network: Any = model
    device = next(model.parameters()).device
    ids, is_prompt = padded([row.prompt for row in rows], 0, left=True)
    after, is_answer = padded([row.tokens for row in rows], 0)
    answer_of, _ = padded([row.answer_of + 1 for row in rows], 0)  # 0 is padding
    offsets, _ = padded([row.positions for row in rows], 0)
    lengths = is_prompt.sum(1, keepdim=True)
    positions = torch.cat([(is_prompt.cumsum(1) - 1).clamp(min=0), (lengths + offsets) * is_answer], dim=1)
    # -1 marks prompts, 0 padding.
    segments = torch.cat([-is_prompt, answer_of], dim=1).to(device)
    logits = network(
        input_ids=torch.cat([ids, after], dim=1).to(device),
        attention_mask=_visible(segments, start.length),
        position_ids=(start.length + positions).to(device),
        logits_to_keep=after.shape[1] + 1,
        **start.arguments(len(rows)),
    ).logits
    for row, of_row in zip(rows, logits, strict=True):
        log_p = torch.log_softmax(of_row[: len(row.tokens) + 1].float(), dim=-1)
        index = torch.from_numpy(row.predicted_by).to(device), torch.from_numpy(row.predicted).to(device)
        yield torch.stack([each.mean() for each in log_p[index].cpu().split(row.lengths)])


def _visible(segments: torch.Tensor, before: int) -> torch.Tensor:
    """Which tokens each token sees: bool [n, 1, width, before + width].

    Args:
        segments: int64 [n, width]: -1 for a prompt's tokens, 0 for padding, k for those of answer k.
        before: tokens of the shared start, which all see.
    """
    width = segments.shape[1]
    of, to = segments[:, :, None], segments[:, None, :]
    seen = ((to == -1) | ((to == of) & (to > 0))).tril()
    # Padding sees itself: a softmax over nothing would be NaN.
    seen |= torch.eye(width, dtype=torch.bool, device=segments.device)
    return torch.cat([seen.new_ones(len(segments), width, before), seen], dim=2)[:, None]


def _after_one(model: nn.Module, prompt: Sequence[int], answers: Sequence[Sequence[int]]) -> torch.Tensor:
    """The mean log-probability of each answer's tokens, each in a row after the prompt's keys and values."""
    from transformers import DynamicCache

    network: Any = model
    device = next(model.parameters()).device
    ids, mask = (part.to(device) for part in padded(answers, 0))
    start = torch.tensor([list(prompt)], device=device)
    cache = DynamicCache(config=network.config)
    # Only the last token's logits are needed: those of a long prompt would be its length times the vocabulary.
    first = network(input_ids=start, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
    logits = first.expand(len(answers), -1, -1)
    if ids.shape[1] > 1:
        cache.batch_repeat_interleave(len(answers))
        seen = torch.cat([torch.ones_like(start).expand(len(answers), -1), mask[:, :-1]], dim=1)
        rest = network(input_ids=ids[:, :-1], attention_mask=seen, past_key_values=cache, use_cache=True).logits
        logits = torch.cat([logits, rest], dim=1)
    log_p = torch.log_softmax(logits.float(), dim=-1).gather(2, ids.unsqueeze(-1)).squeeze(-1)
    return ((log_p * mask).sum(1) / mask.sum(1)).cpu()
