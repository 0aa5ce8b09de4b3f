"""Attention by blocks of queries, as plain matrix products: on a CPU, several times as fast as the fused kernel.

Several texts may stand in one row. A block of queries is multiplied with no other keys than those that it sees: of a
prompt, about half; of other prompts in the row, none.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from harness.data.domain import Ints

#: Kinds of models whose positions are given by `position_ids`, and whose attention takes a mask for each pair of tokens
#: and passes extra arguments on.
PACKABLE = ("llama", "qwen2", "qwen3")

#: Queries of a block. More of them waste products with keys that come later; fewer are too small a matrix.
BLOCK = 128

#: The name under which transformers knows `_attention`.
_ATTENTION = "blocks"


@dataclass(frozen=True)
class Block:
    """Queries that stand together in a row, and the keys that they see.

    Attributes:
        start: first query.
        end: end of the queries.
        before: start and end of the keys before them that all of them see.
        hidden: bool [end - start, end - start], which of the block's own keys each query does not see.
    """

    start: int
    end: int
    before: tuple[int, int]
    hidden: torch.Tensor


def causal_blocks(lengths: Sequence[int]) -> list[Block]:
    """The blocks of texts that stand one after the other, and are each read from left to right.

    Args:
        lengths: tokens of each text.
    """
    blocks, first = [], 0
    for length in lengths:
        for start in range(first, first + length, BLOCK):
            end = min(start + BLOCK, first + length)
            hidden = torch.ones(end - start, end - start, dtype=torch.bool).triu(1)
            blocks.append(Block(start, end, (first, start), hidden))
        first += length
    return blocks


def answer_blocks(prompt: int, answer_of: Ints) -> list[Block]:
    """The blocks of a prompt and of answers after it, each of which sees the prompt and itself.

    Args:
        prompt: tokens of the prompt.
        answer_of: int64 [n], the answer of each token after the prompt, ascending.
    """
    blocks = causal_blocks([prompt])
    # Answers that begin in the same stretch of BLOCK tokens stand in one block.
    stretch = np.searchsorted(answer_of, answer_of) // BLOCK
    ends = [*(np.flatnonzero(np.diff(stretch)) + 1).tolist(), len(answer_of)]
    for start, end in pairwise([0, *ends]):
        part = torch.from_numpy(answer_of[start:end])
        hidden = (part[None, :] != part[:, None]) | torch.ones(len(part), len(part), dtype=torch.bool).triu(1)
        blocks.append(Block(prompt + start, prompt + end, (0, prompt), hidden))
    return [block for block in blocks if block.start < block.end]


def seen(blocks: Sequence[Block]) -> torch.Tensor:
    """The mask of all pairs that the blocks stand for: bool [1, 1, n, n], true where a query sees a key."""
    n = blocks[-1].end
    mask = torch.zeros(1, 1, n, n, dtype=torch.bool)
    for block in blocks:
        rows = mask[0, 0, block.start : block.end]
        rows[:, slice(*block.before)] = True
        rows[:, block.start : block.end] = ~block.hidden
    return mask


def packable(model: nn.Module) -> bool:
    """Whether several texts may stand in one row of a model."""
    network: Any = model
    config = network.config
    full = all(kind == "full_attention" for kind in getattr(config, "layer_types", None) or ())
    return config.model_type in PACKABLE and full and config._attn_implementation == "sdpa"


def attends_by_blocks(model: nn.Module) -> bool:
    """Whether attention by blocks is used for a model: for a packable one, on a CPU.

    Training with activation checkpointing runs layers again after the forward pass, when attention is the usual one.
    """
    network: Any = model
    checkpointing = network.training and network.is_gradient_checkpointing
    return packable(model) and next(model.parameters()).device.type == "cpu" and not checkpointing


@contextmanager
def block_attention(model: nn.Module) -> Iterator[None]:
    """Let a model attend by the blocks in its argument `blocks`."""
    from transformers import AttentionInterface

    AttentionInterface.register(_ATTENTION, _attention)
    network: Any = model
    config, usual = network.config, network.config._attn_implementation
    config._attn_implementation = _ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = usual


def _attention(
    module: nn.Module,  # noqa: ARG001 - the interface of transformers, as are the next ones
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001
    blocks: Sequence[Block],
    scaling: float,
    **unused: Any,  # noqa: ARG001
) -> tuple[torch.Tensor, None]:
    """Attention of each block's queries to the keys that they see.

    Args:
        module: the layer.
        query: [1, heads, n, d].
        key: [1, key heads, n, d]; each serves as many query heads as there are more of these.
        value: like `key`.
        attention_mask: none is needed.
        blocks: cover all queries, in order.
        scaling: of the scores.
        **unused: further arguments of the interface, such as the dropout, which is 0 here.

    Returns:
        [1, n, heads, d], and no weights.
    """
    dtype = value.dtype  # that of products, if they are autocast
    queries = (query[0] * scaling).to(dtype).unflatten(0, (key.shape[1], -1))
    keys, values = key[0].to(dtype), value[0]
    outputs = []
    for block in blocks:
        own = slice(block.start, block.end)
        part = queries[:, :, own]
        scores = part.flatten(1, 2) @ _joined(keys, block).transpose(1, 2)
        with torch.no_grad():  # a hidden key's weight is 0, and so is its gradient
            scores.unflatten(1, part.shape[1:3])[..., -len(block.hidden) :].masked_fill_(block.hidden, -torch.inf)
        output = scores.softmax(-1).to(dtype) @ _joined(values, block)
        outputs.append(output.unflatten(1, part.shape[1:3]))
    return torch.cat(outputs, dim=2).flatten(0, 1).transpose(0, 1)[None].contiguous(), None


def _joined(states: torch.Tensor, block: Block) -> torch.Tensor:
    """Of [heads, n, d], what the block's queries see: [heads, m, d]."""
    first, end = block.before
    if end == block.start:
        return states[:, first : block.end]
    return torch.cat([states[:, first:end], states[:, block.start : block.end]], dim=1)
