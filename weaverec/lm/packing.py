"""Texts read as one row, one after the other, without padding.

An item's text has about ten tokens, and a few dozen such texts are too small a matrix for a CPU to multiply at its full
rate. In one row, all texts go through each linear layer as one matrix; only attention looks at each text alone.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from harness.data.domain import Ints

#: Encoders whose positions are given by `position_ids` from 0, and whose attention passes extra arguments on.
PACKABLE = ("bert",)

#: The name under which transformers knows `_attention`.
_ATTENTION = "packed"


def packs(lengths: Ints, most_tokens: int) -> list[Ints]:
    """Rows in packs of about `most_tokens` tokens, shortest rows first.

    Args:
        lengths: int64 [n], tokens of each row.
        most_tokens: of a pack; its last row may exceed it.

    Returns:
        int64 indices of the rows of each pack.
    """
    order = np.argsort(lengths, kind="stable")
    pack_of = (np.cumsum(lengths[order]) - 1) // most_tokens
    return [order[start:end] for start, end in pairwise([0, *(np.flatnonzero(np.diff(pack_of)) + 1), len(order)])]


def packable(model: nn.Module) -> bool:
    """Whether a model is of one of the kinds in `PACKABLE`."""
    network: Any = model
    return network.config.model_type in PACKABLE


def packed_states(model: nn.Module, rows: Sequence[Ints]) -> torch.Tensor:
    """The last hidden states of all tokens of some texts: float [total, d].

    Args:
        model: an encoder of one of the kinds in `PACKABLE`.
        rows: tokens of each text, int64, shortest first.
    """
    lengths = [len(row) for row in rows]
    device = next(model.parameters()).device
    with _packed_attention(model):
        output: Any = model(
            input_ids=torch.from_numpy(np.concatenate(rows))[None].to(device),
            position_ids=torch.from_numpy(np.concatenate([np.arange(n) for n in lengths]))[None].to(device),
            runs=[(len(list(run)), length) for length, run in groupby(lengths)],
        )
    states: torch.Tensor = output.last_hidden_state[0]
    return states


@contextmanager
def _packed_attention(model: nn.Module) -> Iterator[None]:
    """Let a model attend within each text of a row, as `_attention` does."""
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
    runs: list[tuple[int, int]],
    scaling: float,
    dropout: float = 0.0,  # noqa: ARG001 - backbones have none here
    **unused: Any,  # noqa: ARG001
) -> tuple[torch.Tensor, None]:
    """Attention within each text of a row.

    Args:
        module: the layer.
        query: [1, heads, total, d].
        key: like `query`.
        value: like `query`.
        attention_mask: none is needed.
        runs: (number of texts, tokens of each) of the texts of equal length, in order.
        scaling: of the scores.
        dropout: is 0.
        **unused: further arguments of the interface.

    Returns:
        [1, total, heads, d], and no weights.
    """
    heads, size = query.shape[1], query.shape[3]
    tokens = [count * length for count, length in runs]
    split = (states[0].split(tokens, dim=1) for states in (query, key, value))
    outputs = []
    for (count, length), *parts in zip(runs, *split, strict=True):
        q, k, v = (part.reshape(heads * count, length, size) for part in parts)
        weights = torch.softmax(torch.bmm(q, k.transpose(1, 2)) * scaling, dim=-1)
        outputs.append(torch.bmm(weights.to(v.dtype), v).view(heads, count * length, size))
    return torch.cat(outputs, dim=1).transpose(0, 1)[None].contiguous(), None
