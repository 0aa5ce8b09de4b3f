"""The likelihoods of candidates' titles after a prompt.

A prompt and the titles of all candidates stand in one row, one after the other: the tokens of each title see the prompt
and the title's own tokens before them, and their positions go on from the prompt's end, so the result is that of one
pass a title.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import DynamicCache

from weaverec.lm.batching import padded
from weaverec.ranker.attention import answer_blocks, attends_by_blocks, block_attention, packable, seen


def likelihoods(model: nn.Module, prompt: Sequence[int], answers: Sequence[Sequence[int]]) -> torch.Tensor:
    """The mean log-probability of each answer's tokens after a prompt: float32 [n].

    Args:
        model: a decoder-only model with logits.
        prompt: its tokens, at least two.
        answers: n answers' tokens, each at least one.
    """
    with torch.no_grad():
        return (_in_one_row if packable(model) else _in_rows)(model, prompt, answers)


def _in_one_row(model: nn.Module, prompt: Sequence[int], answers: Sequence[Sequence[int]]) -> torch.Tensor:
    """The likelihoods by one pass, with the answers one after the other behind the prompt."""
    network: Any = model
    device = next(model.parameters()).device
    lengths = np.array([len(answer) for answer in answers])
    tokens = np.concatenate([np.asarray(answer, dtype=np.int64) for answer in answers])
    answer_of = np.repeat(np.arange(len(answers)), lengths)
    position = np.concatenate([np.arange(length) for length in lengths])
    # The last token of an answer predicts nothing, and is not read.
    is_read = position < lengths[answer_of] - 1
    n = len(prompt)
    positions = np.concatenate([np.arange(n), n + position[is_read]])
    blocks = answer_blocks(n, answer_of[is_read])
    row = {
        "input_ids": torch.from_numpy(np.concatenate([prompt, tokens[is_read]]))[None].to(device),
        "position_ids": torch.from_numpy(positions)[None].to(device),
        # No logits of the prompt but its last token's: they would be its length times the vocabulary.
        "logits_to_keep": torch.arange(n - 1, len(positions), device=device),
        "use_cache": False,
    }
    if attends_by_blocks(model):
        with block_attention(model):
            output = network(**row, blocks=blocks)
    else:
        output = network(**row, attention_mask=seen(blocks).to(device))
    logits = output.logits[0]
    # Row 0 predicts the first token of each answer; then each that was read predicts the next.
    rows = np.where(position == 0, 0, np.cumsum(is_read) - is_read)
    index = torch.from_numpy(rows).to(device), torch.from_numpy(tokens).to(device)
    # A few rows at a time stay in a processor's cache.
    totals = torch.cat([part.float().logsumexp(-1) for part in logits.split(8)])
    log_p = logits[index].float() - totals[index[0]]
    return torch.stack([each.mean() for each in log_p.split(lengths.tolist())])


def _in_rows(model: nn.Module, prompt: Sequence[int], answers: Sequence[Sequence[int]]) -> torch.Tensor:
    """The likelihoods with a row for each answer, which any decoder-only model can read.

    The prompt goes through the model once, and its keys and values serve all answers.
    """
    network: Any = model
    device = next(model.parameters()).device
    *start, last = prompt
    cache = DynamicCache(config=network.config)
    # No logits of the prompt. Its last token is read with the answers, whose first tokens it predicts.
    nothing = torch.zeros(0, dtype=torch.long, device=device)
    network(
        input_ids=torch.tensor([start], device=device), past_key_values=cache, use_cache=True, logits_to_keep=nothing
    )
    ids, mask = (part.to(device) for part in padded([[last, *answer] for answer in answers], 0))
    cache.batch_repeat_interleave(len(answers))
    all_seen = torch.cat([mask.new_ones(len(answers), len(start)), mask[:, :-1]], dim=1)
    logits = network(
        input_ids=ids[:, :-1], attention_mask=all_seen, past_key_values=cache, use_cache=True
    ).logits.float()
    log_p = logits.log_softmax(-1).gather(2, ids[:, 1:, None]).squeeze(-1)
    predicted = mask[:, 1:]
    means: torch.Tensor = (log_p * predicted).sum(1) / predicted.sum(1)
    return means
