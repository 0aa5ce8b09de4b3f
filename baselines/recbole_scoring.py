"""Scores of RecBole's sequential models."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from harness.data.domain import Ints, Sequences
from harness.method import Floats32, pick
from harness.protocol.split import Histories


@dataclass(frozen=True)
class RecBoleScorer:
    """Scores of RecBole's own `full_sort_predict`, without its padding item.

    Attributes:
        model: the trained model.
        max_length: the latest items of a history that the model reads.
    """

    model: Any
    max_length: int

    def score(self, histories: Histories, candidates: Ints | None) -> Floats32:
        """Scores: float32 [n_users, n_candidates]."""
        self.model.eval()
        items, lengths = last_items(histories.sequences, self.max_length)
        device = next(self.model.parameters()).device
        with torch.no_grad():
            scores = self.model.full_sort_predict(
                {
                    self.model.ITEM_SEQ: torch.from_numpy(items).to(device),
                    self.model.ITEM_SEQ_LEN: torch.from_numpy(lengths).to(device),
                }
            )
        whole: Floats32 = scores[:, 1:].cpu().numpy().astype(np.float32, copy=False)
        return pick(whole, candidates)


def last_items(histories: Sequences, max_length: int) -> tuple[Ints, Ints]:
    """Histories as RecBole's models read them.

    Returns:
        The latest max_length items of each, left-aligned, item i written as i + 1 and padding as 0:
        int64 [n_users, max_length]; and how many they are: int64 [n_users], at least 1. An empty history reads
        as one padding item.
    """
    items = np.zeros((len(histories), max_length), dtype=np.int64)
    for row, history in enumerate(histories):
        kept = history[-max_length:]
        items[row, : len(kept)] = kept + 1
    return items, np.clip(histories.lengths, 1, max_length)
