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
    """Check that a language model has texts to read.

    Raises:
        HarnessError: no item of a domain has a text.
    """
    for name in names:
        if not any(data.domains[name].catalogue.texts):
            raise HarnessError(
                f"No item of {name} has a text, which is all that a language model reads.",
                "Name the columns of its texts, or leave out the methods on language models.",
            )


class ItemTokens:
    """Each item's text as tokens. Items of one text share them, and are encoded once.

    A text's vector differs in the last bits between batches of different widths. If items of one text were encoded
    separately, their scores would no longer tie.

    Attributes:
        text_of: int64 [n_items], the distinct text of each item.
        pad: the padding token.
    """

    def __init__(
        self,
        texts: Sequence[str],
        tokenizer: Any,
        max_tokens: int,
        prefix: str = "",
        joined_prefix: str = "",
        separator: str | None = None,
    ) -> None:
        """Cuts texts into tokens.

        Args:
            texts: n_items texts.
            tokenizer: of the backbone.
            max_tokens: a text is cut to so many tokens, prefix and separator not counted.
            prefix: stands before each text, such as `passage: `.
            joined_prefix: stands before joined texts, such as `query: `.
            separator: what ends each text, so that texts can be joined; None gives each the tokenizer's own special
                tokens instead, as an encoder reads it.
        """
        distinct = list(dict.fromkeys(texts))
        index = {text: row for row, text in enumerate(distinct)}
        self.text_of = np.array([index[text] for text in texts], dtype=np.int64)
        self.pad = int(tokenizer.pad_token_id)
        if separator is None:
            # Special tokens stand around prefix and text alike.
            room = len(tokenizer(prefix, add_special_tokens=False)["input_ids"]) if prefix else 0
            encoded = tokenizer([prefix + text for text in distinct], truncation=True, max_length=max_tokens + room)
            end: list[int] = []
            self._start = self._joined_start = np.zeros(0, dtype=np.int64)
        else:
            encoded = tokenizer(distinct, truncation=True, max_length=max_tokens, add_special_tokens=False)
            end = tokenizer(separator, add_special_tokens=False)["input_ids"]
            # What a tokenizer puts before any text, such as Llama's first token, stands once before joined texts.
            start = tokenizer("")["input_ids"]
            self._start, self._joined_start = (
                np.array([*start, *tokenizer(text, add_special_tokens=False)["input_ids"]], dtype=np.int64)
                for text in (prefix, joined_prefix)
            )
        self._rows = [np.array([*ids, *end], dtype=np.int64) for ids in encoded["input_ids"]]
        self._lengths = np.array([len(row) for row in self._rows], dtype=np.int64)

    def __len__(self) -> int:
        """Number of items."""
        return len(self.text_of)

    def texts(self, items: Ints) -> Ints:
        """The distinct texts of some items (int64 [n]): int64, ascending."""
        texts: Ints = np.unique(self.text_of[items])
        return texts

    def count(self, items: Ints) -> int:
        """Tokens of the distinct texts of some items, as they are read alone."""
        texts = self.texts(items)
        return int(self._lengths[texts].sum()) + len(self._start) * len(texts)

    def rows(self, texts: Ints) -> list[Ints]:
        """The tokens of some texts (int64 [n]), as they are read alone: n rows of int64."""
        return [np.concatenate([self._start, self._rows[text]]) for text in texts]

    def joined(self, sequences: Sequences) -> tuple[list[Ints], list[Ints]]:
        """The tokens of each sequence's joined texts, and the position in them of each item's last token."""
        rows, ends = [], []
        for items in sequences:
            texts = self.text_of[items]
            rows.append(np.concatenate([self._joined_start, *(self._rows[text] for text in texts)]))
            ends.append(len(self._joined_start) + np.cumsum(self._lengths[texts]) - 1)
        return rows, ends

    def joined_batches(self, rows: Sequence[Ints]) -> list[tuple[Ints, torch.Tensor, torch.Tensor]]:
        """Joined sequences in batches of like length, as `batches` gives texts."""
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        return [
            (which, *padded([rows[row] for row in which], self.pad)) for which in token_batches(lengths, BATCH_TOKENS)
        ]
