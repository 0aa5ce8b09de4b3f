"""Score items with RecBole's sequential models."""

from dataclasses import dataclass

import numpy as np
import torch

from baselines.recbole_models.building import Built
from baselines.recbole_models.corpus import Part
from baselines.recbole_models.dataset import contained
from baselines.recbole_models.training_paths import TrainingPath, trim
from harness.data.domain import Ints, Sequences
from harness.methods.api import Floats32, gather_candidates
from harness.protocol.split import Histories

#: Users scored in one pass.
_BATCH = 128


@dataclass(frozen=True)
class RecBoleScorer:
    """Scores of RecBole's own `full_sort_predict`, without its padding item and other domains' items.

    Attributes:
        built: the trained model.
        part: the domain that is scored, in the model's corpus.
        max_length: number of latest items of a history that the model reads.
        path: how the model was trained; models that can be trained without padding are scored without it.
    """

    built: Built
    part: Part
    max_length: int
    path: TrainingPath

    def score(self, histories: Histories, candidates: Ints | None) -> Floats32:
        """Scores: float32 [n_users, n_candidates]."""
        domain_items = slice(self.part.first_item + 1, self.part.first_item + 1 + self.part.n_items)
        scores = np.empty((len(histories), self.part.n_items), dtype=np.float32)
        # Histories of similar length are batched together, so that little padding is computed.
        lengths = histories.sequences.lengths
        order = np.argsort(lengths, kind="stable")
        # Empty histories are a batch of their own: their attention would depend on the amount of padding.
        n_empty = int((lengths == 0).sum())
        for rows in np.split(order, range(n_empty, len(order), _BATCH)):
            if not len(rows):
                continue
            scores[rows] = self._score_batch(histories, rows)[:, domain_items].cpu().numpy()
        return gather_candidates(scores, candidates)

    def _score_batch(self, histories: Histories, rows: Ints) -> torch.Tensor:
        from recbole.data import Interaction

        model = self.built.model.eval()
        items, lengths = last_items(histories.sequences.select(rows), self.max_length)
        fields = {
            model.USER_ID: histories.users[rows] + self.part.first_user + 1,
            model.ITEM_SEQ: np.where(items > 0, items + self.part.first_item, 0),
            model.ITEM_SEQ_LEN: lengths,
        }
        interaction = Interaction({name: torch.from_numpy(value) for name, value in fields.items()})
        with torch.no_grad(), contained():
            interaction = self.built.transform(self.built.dataset, interaction)
            if self.path is not TrainingPath.WHOLE:
                interaction = trim(interaction)
            scores: torch.Tensor = model.full_sort_predict(interaction.to(next(model.parameters()).device))
        return scores.view(len(rows), -1)


def last_items(histories: Sequences, max_length: int) -> tuple[Ints, Ints]:
    """The latest items of histories, as inputs of RecBole's models.

    Returns:
        The latest max_length items of each history, left-aligned, with item i as i + 1 and padding as 0:
        int64 [n_users, max_length]; and their number: int64 [n_users], at least 1. An empty history becomes one padding
        item.
    """
    lengths = np.minimum(histories.lengths, max_length)
    positions = np.arange(max_length)
    flat = (histories.offsets[1:] - lengths)[:, None] + positions
    inside = positions < lengths[:, None]
    items = np.append(histories.items, 0)[np.where(inside, flat, 0)]
    return np.where(inside, items + 1, 0), np.maximum(lengths, 1)
