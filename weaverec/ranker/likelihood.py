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
        prompt: its tokens.
        answers: n answers' tokens, each at least one.
    """
    network: Any = model
    start = torch.tensor([list(prompt)], device=next(model.parameters()).device)
    cache = DynamicCache(config=network.config)
    with torch.no_grad():
        # Only the last token's logits are needed: those of a long prompt would be its length times the vocabulary.
        first = network(input_ids=start, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[0]
        if max(map(len, answers)) == 1:
            log_p = first.float().log_softmax(-1)[0]
            return log_p[torch.tensor([token for (token,) in answers], device=log_p.device)]
        return (_in_one_row if packable(model) else _in_rows)(network, first, cache, len(prompt), answers)


def packable(model: nn.Module) -> bool:
    """Whether several answers may stand in one row of a model."""
    network: Any = model
    config = network.config
    full = all(kind == "full_attention" for kind in getattr(config, "layer_types", None) or ())
    return config.model_type in PACKABLE and full and config._attn_implementation == "sdpa"


def _in_one_row(
    network: Any, first: torch.Tensor, cache: DynamicCache, before: int, answers: Sequence[Sequence[int]]
) -> torch.Tensor:
    """The mean log-probabilities of answers that stand one after the other.

    Args:
        network: the model.
        first: float [1, vocabulary], the logits after the prompt.
        cache: the prompt's keys and values.
        before: tokens of the prompt.
        answers: n answers' tokens.
    """
    device = first.device
    lengths = np.array([len(answer) for answer in answers])
    tokens = np.concatenate([np.asarray(answer, dtype=np.int64) for answer in answers])
    answer_of = np.repeat(np.arange(len(answers)), lengths)
    position = np.concatenate([np.arange(length) for length in lengths])
    # The last token of an answer predicts nothing, and is not read.
    is_read = position < lengths[answer_of] - 1
    of = torch.from_numpy(answer_of[is_read]).to(device)
    own = (of[:, None] == of[None, :]).tril()
    rest = network(
        input_ids=torch.from_numpy(tokens[is_read])[None].to(device),
        position_ids=torch.from_numpy(before + position[is_read])[None].to(device),
        attention_mask=torch.cat([own.new_ones(len(of), before), own], dim=1)[None, None],
        past_key_values=cache,
        use_cache=True,
    ).logits[0]
    # Row 0 of the logits, which the prompt gives, predicts the first token of each answer; then each that was read
    # predicts the next.
    logits = torch.cat([first, rest]).float()
    rows = np.where(position == 0, 0, np.cumsum(is_read) - is_read)
    index = torch.from_numpy(rows).to(device), torch.from_numpy(tokens).to(device)
    log_p = logits[index] - logits.logsumexp(-1)[index[0]]
    return torch.stack([each.mean() for each in log_p.split(lengths.tolist())])


def _in_rows(
    network: Any, first: torch.Tensor, cache: DynamicCache, before: int, answers: Sequence[Sequence[int]]
) -> torch.Tensor:
    """The same with a row for each answer, which any decoder-only model can read."""
    ids, mask = (part.to(first.device) for part in padded(answers, 0))
    cache.batch_repeat_interleave(len(answers))
    seen = torch.cat([mask.new_ones(len(answers), before), mask[:, :-1]], dim=1)
    rest = network(input_ids=ids[:, :-1], attention_mask=seen, past_key_values=cache, use_cache=True).logits
    logits = torch.cat([first.expand(len(answers), 1, -1), rest], dim=1)
    log_p = torch.log_softmax(logits.float(), dim=-1).gather(2, ids.unsqueeze(-1)).squeeze(-1)
    return (log_p * mask).sum(1) / mask.sum(1)
