"""A catalogue's texts as tokens."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from harness.data.domain import Ints, Sequences
from harness.errors import HarnessError
from harness.protocol.split import TrainingData
from weaverec.lm.batching import padded, token_batches

#: Tokens of a batch, padding included, while vectors are computed.
BATCH_TOKENS = 4096


def check_texts(data: TrainingData, names: Iterable[str]) -> None:
    """Finds out whether a language model has anything to read.

    Raises:
        HarnessError: not one item of a domain has a text.
    """
    for name in names:
        if not any(data.domains[name].catalogue.texts):
            raise HarnessError(
                f"No item of {name} has a text, which is all that a language model reads.",
                "Name the columns of its texts, or leave out the methods on language models.",
            )


class ItemTokens:
    """Each item's text as tokens. Items of one text share them, and are encoded once.

    A text's vector differs in the last bits between batches of other widths; encoded apart, items of one text would
    not be the ties that they are.
    """

    def __init__(self, texts: Sequence[str], tokenizer: Any, max_tokens: int, separator: str | None = None) -> None:
        """Cuts texts into tokens.

        Args:
            texts: n_items texts.
            tokenizer: of the backbone.
            max_tokens: a text is cut to so many tokens, the separator not counted.
            separator: what ends each text, so that texts can be joined; None gives each the tokenizer's own special
                tokens instead, as an encoder reads it.
        """
        distinct = list(dict.fromkeys(texts))
        place = {text: index for index, text in enumerate(distinct)}
        self.text_of = np.array([place[text] for text in texts], dtype=np.int64)
        encoded = tokenizer(distinct, truncation=True, max_length=max_tokens, add_special_tokens=separator is None)
        end = [] if separator is None else tokenizer(separator, add_special_tokens=False)["input_ids"]
        # What a tokenizer puts before any text, such as Llama's first token, stands once before joined texts.
        start = [] if separator is None else tokenizer("")["input_ids"]
        self._start = np.array(start, dtype=np.int64)
        self._rows = [np.array([*ids, *end], dtype=np.int64) for ids in encoded["input_ids"]]
        self._lengths = np.array([len(row) for row in self._rows], dtype=np.int64)
        self._pad = int(tokenizer.pad_token_id)

    def __len__(self) -> int:
        """Number of items."""
        return len(self.text_of)

    def texts(self, items: Ints) -> Ints:
        """The distinct texts of some items (int64 [n]): int64, rising."""
        found: Ints = np.unique(self.text_of[items])
        return found

    def batches(self, texts: Ints) -> list[tuple[Ints, torch.Tensor, torch.Tensor]]:
        """Texts in batches of like length: which of `texts` (int64 [n]), their tokens and mask (int64 [n, width])."""
        return [
            (rows, *padded([np.concatenate([self._start, self._rows[text]]) for text in texts[rows]], self._pad))
            for rows in token_batches(self._lengths[texts], BATCH_TOKENS)
        ]

    def joined(self, sequences: Sequences) -> tuple[list[Ints], list[Ints]]:
        """Each sequence's texts joined, and where in it each item's last token stands."""
        rows, ends = [], []
        for items in sequences:
            own = self.text_of[items]
            rows.append(np.concatenate([self._start, *(self._rows[text] for text in own)]))
            ends.append(len(self._start) + np.cumsum(self._lengths[own]) - 1)
        return rows, ends

    def joined_batches(self, rows: Sequence[Ints]) -> list[tuple[Ints, torch.Tensor, torch.Tensor]]:
        """Joined sequences in batches of like length, as `batches` gives texts."""
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        return [
            (which, *padded([rows[row] for row in which], self._pad)) for which in token_batches(lengths, BATCH_TOKENS)
        ]
