"""Token sequences in batches of similar length, with little padding."""

from collections.abc import Sequence

import numpy as np
import torch

from harness.data.domain import Ints

#: Share of a batch that padding may take.
MOST_PADDING = 0.05


def token_batches(lengths: Ints, most_tokens: int) -> list[Ints]:
    """Rows in batches, shortest first, of at most `most_tokens` tokens with padding, of which 5 % are padding.

    A row longer than `most_tokens` is a batch of its own.

    Args:
        lengths: int64 [n], tokens of each row.
        most_tokens: rows times the longest row's tokens.
    """
    order = np.argsort(lengths, kind="stable")
    batches, start, real = [], 0, 0
    for end, row in enumerate(order):
        # Rows come in ascending length, so the newest is the widest.
        width, rows = int(lengths[row]), end - start + 1
        if end > start and (width * rows > most_tokens or real + width < (1 - MOST_PADDING) * width * rows):
            batches.append(order[start:end])
            start, real = end, 0
        real += width
    if start < len(order):
        batches.append(order[start:])
    return batches


def padding_share(lengths: Ints, batches: Sequence[Ints]) -> float:
    """The share of computed tokens that are padding, where each batch is as wide as its longest row."""
    computed = sum(len(rows) * int(lengths[rows].max()) for rows in batches)
    return 1 - float(lengths[np.concatenate(batches)].sum()) / computed if computed else 0.0


def padded(rows: Sequence[Sequence[int] | Ints], pad: int, left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Token rows as one tensor, and its mask: int64 [n, width], int64 [n, width] of 0 and 1.

    Args:
        rows: n rows of tokens.
        pad: the padding token.
        left: whether padding comes before the tokens.
    """
    width = max(map(len, rows), default=0)
    ids = torch.full((len(rows), width), pad, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for row, tokens in enumerate(rows):
        columns = slice(width - len(tokens), None) if left else slice(len(tokens))
        ids[row, columns] = torch.tensor(tokens, dtype=torch.long)
        mask[row, columns] = 1
    return ids, mask
