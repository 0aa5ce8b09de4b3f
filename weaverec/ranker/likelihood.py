"""The likelihoods of candidates' titles after a prompt.

A prompt goes through the model once, and its keys and values serve all candidates. Their titles then stand in one row,
one after the other: the tokens of each see the prompt and the title's own tokens before them, and their positions go
on from the prompt's end, so the result is that of one pass a title. A row a title would copy the prompt's keys and
values for each.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import DynamicCache

from weaverec.lm.batching import padded

#: Kinds of models whose positions are given by `position_ids` and whose attention takes a mask for each pair of tokens.
PACKABLE = ("llama", "qwen2", "qwen3")


def likelihoods(model: nn.Module, prompt: Sequence[int], answers: Sequence[Sequence[int]]) -> torch.Tensor:
    """The mean log-probability of each answer's tokens after a prompt: float32 [n].

    Args:
        model: a decoder-only model with logits.
        prompt: its tokens, at least two.
        answers: n answers' tokens, each at least one.
    """
    network: Any = model
    *start, last = prompt
    cache = DynamicCache(config=network.config)
    device = next(model.parameters()).device
    with torch.no_grad():
        # No logits of the prompt: they would be its length times the vocabulary. Its last token is read with the
        # answers, whose first tokens it predicts.
        nothing = torch.zeros(0, dtype=torch.long, device=device)
        network(
            input_ids=torch.tensor([start], device=device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=nothing,
        )
        return (_in_one_row if packable(model) else _in_rows)(network, cache, len(start), last, answers)


def packable(model: nn.Module) -> bool:
    """Whether several answers may stand in one row of a model."""
    network: Any = model
    config = network.config
    full = all(kind == "full_attention" for kind in getattr(config, "layer_types", None) or ())
    return config.model_type in PACKABLE and full and config._attn_implementation == "sdpa"


def _in_one_row(
    network: Any, cache: DynamicCache, before: int, last: int, answers: Sequence[Sequence[int]]
) -> torch.Tensor:
    """The mean log-probabilities of answers that stand one after the other.

    Args:
        network: the model.
        cache: the prompt's keys and values, without its last token.
        before: tokens in the cache.
        last: the prompt's last token.
        answers: n answers' tokens.
    """
    device = next(network.parameters()).device
    lengths = np.array([len(answer) for answer in answers])
    tokens = np.concatenate([np.asarray(answer, dtype=np.int64) for answer in answers])
    answer_of = np.repeat(np.arange(len(answers)), lengths)
    position = np.concatenate([np.arange(length) for length in lengths])
    # The last token of an answer predicts nothing, and is not read.
    is_read = position < lengths[answer_of] - 1
    # -1 is the prompt, which all see.
    part = torch.from_numpy(np.concatenate([np.full(before + 1, -1), answer_of[is_read]])).to(device)
    seen = ((part[None, :] == part[before:, None]) | (part[None, :] == -1)).tril(before)
    output = network(
        input_ids=torch.from_numpy(np.concatenate([[last], tokens[is_read]]))[None].to(device),
        position_ids=torch.from_numpy(before + np.concatenate([[0], 1 + position[is_read]]))[None].to(device),
        attention_mask=seen[None, None],
        past_key_values=cache,
        use_cache=True,
    )
    logits = output.logits[0].float()
    # Row 0 predicts the first token of each answer; then each that was read predicts the next.
    rows = np.where(position == 0, 0, np.cumsum(is_read) - is_read)
    index = torch.from_numpy(rows).to(device), torch.from_numpy(tokens).to(device)
    log_p = logits[index] - logits.logsumexp(-1)[index[0]]
    return torch.stack([each.mean() for each in log_p.split(lengths.tolist())])


def _in_rows(
    network: Any, cache: DynamicCache, before: int, last: int, answers: Sequence[Sequence[int]]
) -> torch.Tensor:
    """The same with a row for each answer, which any decoder-only model can read."""
    device = next(network.parameters()).device
    ids, mask = (part.to(device) for part in padded([[last, *answer] for answer in answers], 0))
    cache.batch_repeat_interleave(len(answers))
    seen = torch.cat([mask.new_ones(len(answers), before), mask[:, :-1]], dim=1)
    logits = network(input_ids=ids[:, :-1], attention_mask=seen, past_key_values=cache, use_cache=True).logits.float()
    log_p = logits.log_softmax(-1).gather(2, ids[:, 1:, None]).squeeze(-1)
    predicted = mask[:, 1:]
    means: torch.Tensor = (log_p * predicted).sum(1) / predicted.sum(1)
    return means
