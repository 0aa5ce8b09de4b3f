"""A language model as a retriever: item text -> vector, history text -> vector, scores by dot product.

Two ways to read a history, after what the backbone is:

An encoder reads it *title by title*: each item's text goes through the model by itself and is pooled (see
`weaverec.lm.pooling`), and the history's vector is the unit-length sum of its items' vectors, the latest weighing most.
The model reads all of a history's text, but each text once however many histories it stands in; so one pass over a
catalogue trains or scores every prefix of every user. Reading the joined titles as one text costs a pass a prefix.

A decoder-only model reads the texts *joined*, each ended by a line break, and the state at an item's last token is
the vector of the history up to that item: as no token sees a later one, one pass over a history gives the vectors of
all its prefixes. An item's vector is that of a history of this one item.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import nn
from torch.utils.checkpoint import checkpoint

from harness.data.domain import Catalogue, Ints, Sequences
from harness.methods.api import DotProduct, Floats32
from harness.protocol.split import Histories
from harness.training.distributed import SINGLE_PROCESS, ProcessGroup
from harness.training.windows import windows_of
from weaverec.lm.backbone import Backbone, autocast_bf16
from weaverec.lm.batching import padded, token_batches
from weaverec.lm.packing import packable, packed_states, packs
from weaverec.lm.pooling import Mode, pool, pool_packed
from weaverec.lm.tokens import BATCH_TOKENS, ItemTokens


@dataclass(frozen=True)
class RetrieverSettings:
    """How texts and histories become vectors.

    Attributes:
        max_tokens: item texts are cut to so many tokens, an encoder's special tokens included.
        history: how many of the latest items of a history count.
        decay: weight of an item relative to the next later one, where a history is read title by title.
    """

    max_tokens: Annotated[int, Ge(3)] = 32
    history: Annotated[int, Ge(1)] = 20
    decay: Annotated[float, Gt(0), Le(1)] = 0.7


@dataclass(frozen=True)
class Prefixes:
    """Parts of histories, each up to an item that another follows.

    Attributes:
        vectors: float32 [n, d], of unit length.
        events: int64 [n], the events that follow, as places in the flat arrays of the sequences.
    """

    vectors: torch.Tensor
    events: Ints


class HistoryEncoder(Protocol):
    """How a model reads one catalogue and histories over it."""

    def __len__(self) -> int:
        """Number of items."""
        ...

    def items(self, model: nn.Module, which: Ints) -> torch.Tensor:
        """Vectors of some items (int64 [n]): float32 [n, d], on the model's device."""
        ...

    def required_items(self, sequences: Sequences) -> Ints:
        """The items whose vectors `prefixes` of these sequences needs, targets included: int64, rising."""
        ...

    def tokens(self, which: Ints, sequences: Sequences) -> int:
        """How many tokens `items` of these and `prefixes` of these sequences read, without padding."""
        ...

    def prefixes(self, model: nn.Module, sequences: Sequences, vectors: torch.Tensor) -> Prefixes:
        """Every prefix of some sequences that another item follows.

        Args:
            model: the model.
            sequences: n_users sequences.
            vectors: float32 [n_items, d], the items' vectors.

        Returns:
            The prefixes; their vectors are differentiable in the model's weights, in `vectors`, or in both.
        """
        ...

    def histories(self, model: nn.Module, sequences: Sequences, vectors: torch.Tensor) -> torch.Tensor:
        """The vectors of whole histories: float32 [n_users, d]. One without items has the zero vector."""
        ...


def history_encoder(
    backbone: Backbone,
    catalogue: Catalogue,
    tokenizer: Any,
    settings: RetrieverSettings,
    processes: ProcessGroup = SINGLE_PROCESS,
    accumulate: bool = False,
) -> HistoryEncoder:
    """The encoder of a catalogue and its histories that suits a backbone.

    Args:
        backbone: the model's.
        catalogue: whose texts are read.
        tokenizer: of the backbone.
        settings: how texts become vectors.
        processes: processes that read together, and share the texts among them.
        accumulate: keep the activations of one batch of texts at a time, and compute each batch anew for its
            gradients: these are the same, and memory does not grow with a step (Gao et al., 2021: "Scaling deep
            contrastive learning batch size under memory limited setup").
    """
    pooling = backbone.pooling
    reader = _Reader(processes, accumulate, pooling.mode, pooling.unit_length)
    if backbone.decoder_only and pooling.mode == "last":
        tokens = ItemTokens(catalogue.texts, tokenizer, settings.max_tokens, pooling.passage, pooling.query, "\n")
        return CausalEncoder(tokens, settings, reader)
    tokens = ItemTokens(catalogue.texts, tokenizer, settings.max_tokens, pooling.passage)
    return PooledEncoder(tokens, settings, reader)


@dataclass(frozen=True)
class _Reader:
    """How batches of tokens go through a model: shared among processes or not, their activations kept or not."""

    processes: ProcessGroup
    accumulate: bool
    mode: Mode
    unit_length: bool

    def states(self, read: Callable[[], torch.Tensor]) -> torch.Tensor:
        """A batch's pooled hidden states, float32 [n, d]; differentiable in the model's weights."""
        kept = not (self.accumulate and torch.is_grad_enabled())
        pooled: torch.Tensor = read() if kept else checkpoint(read, use_reentrant=False)
        return pooled

    def scaled(self, vectors: torch.Tensor) -> torch.Tensor:
        """Vectors [n, d] at unit length, where the model's are to have it."""
        return F.normalize(vectors, dim=-1) if self.unit_length else vectors

    def texts(self, model: nn.Module, tokens: ItemTokens, which: Ints) -> torch.Tensor:
        """Vectors of some items' texts (int64 [n]), each text read once: float32 [n, d]."""
        texts = tokens.texts(which)
        share = self.processes.share(len(texts))
        rows = tokens.rows(texts[share])
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        packed = packable(model)
        parts, order = [], [np.arange(0)]
        for batch in (packs if packed else token_batches)(lengths, BATCH_TOKENS):
            parts.append(self.states(partial(self._read, model, [rows[row] for row in batch], tokens.pad, packed)))
            order.append(share[batch])
        pooled = self.processes.joined(torch.cat(parts or [_no_states(model)]), np.concatenate(order), len(texts))
        vectors = self.scaled(pooled)
        index = np.searchsorted(texts, tokens.text_of[which])
        return vectors[torch.from_numpy(index).to(vectors.device)]

    def _read(self, model: nn.Module, rows: list[Ints], pad: int, packed: bool) -> torch.Tensor:
        """The pooled states of some texts, float32 [n, d]."""
        if packed:
            return pool_packed(packed_states(model, rows), [len(row) for row in rows], self.mode).float()
        ids, mask = padded(rows, pad)
        return pool(self.mode)(hidden_states(model, ids, mask), mask).float()


class PooledEncoder:
    """Reads every text by itself; histories are decaying sums of their items' vectors."""

    def __init__(self, tokens: ItemTokens, settings: RetrieverSettings, reader: _Reader) -> None:
        self._tokens, self._settings, self._reader = tokens, settings, reader

    def __len__(self) -> int:
        """Number of items."""
        return len(self._tokens)

    def items(self, model: nn.Module, which: Ints) -> torch.Tensor:
        """Pooled last hidden states."""
        return self._reader.texts(model, self._tokens, which)

    def required_items(self, sequences: Sequences) -> Ints:
        """All their items."""
        items: Ints = np.unique(sequences.items)
        return items

    def tokens(self, which: Ints, sequences: Sequences) -> int:  # noqa: ARG002 - each text is read once
        """Those of the items' distinct texts."""
        return self._tokens.count(which)

    def prefixes(
        self,
        model: nn.Module,  # noqa: ARG002 - the items' vectors hold all it has to say
        sequences: Sequences,
        vectors: torch.Tensor,
    ) -> Prefixes:
        """Each event's items before it, pooled."""
        events = _followers(sequences)
        return Prefixes(contexts_before(sequences, events, self._settings).pooled(vectors), events)

    def histories(self, model: nn.Module, sequences: Sequences, vectors: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """Each history's items, pooled."""
        return contexts_of(sequences, self._settings).pooled(vectors)


class CausalEncoder:
    """Reads a history's texts one after the other, in one pass of a decoder-only model."""

    def __init__(self, tokens: ItemTokens, settings: RetrieverSettings, reader: _Reader) -> None:
        self._tokens, self._settings, self._reader = tokens, settings, reader

    def __len__(self) -> int:
        """Number of items."""
        return len(self._tokens)

    def items(self, model: nn.Module, which: Ints) -> torch.Tensor:
        """The states at the last token of each text."""
        return self._reader.texts(model, self._tokens, which)

    def required_items(self, sequences: Sequences) -> Ints:
        """Only what is predicted: histories are read from their tokens."""
        items: Ints = np.unique(sequences.items[_followers(sequences)])
        return items

    def tokens(self, which: Ints, sequences: Sequences) -> int:
        """Those of the items' distinct texts, and of the windows that histories are read in."""
        return self._tokens.count(which) + sum(len(row) for row in self._tokens.joined(self._windows(sequences)[0])[0])

    def prefixes(
        self,
        model: nn.Module,
        sequences: Sequences,
        vectors: torch.Tensor,  # noqa: ARG002 - histories are read from their tokens
    ) -> Prefixes:
        """The states at the last token of each item that another follows, in one pass a window of the history.

        Sequences of more than `history` + 1 items are cut into windows whose starts lie half a history apart, so that
        every prefix shows at least the latest half of it.
        """
        states = self._states(model, *self._windows(sequences))
        # Windows come in the order of their users and of time, and so do their targets.
        return Prefixes(states, _followers(sequences))

    def _windows(self, sequences: Sequences) -> tuple[Sequences, list[Ints]]:
        """What is read of some sequences, and which of each window's places another item follows for the first time."""
        most = self._settings.history
        windows = windows_of(sequences, most, max(1, most // 2))
        read = Sequences.of(row[row > 0] - 1 for row in windows.inputs)
        return read, [np.flatnonzero(row) for row in windows.targets]

    def histories(self, model: nn.Module, sequences: Sequences, vectors: torch.Tensor) -> torch.Tensor:
        """The states at the last token of the latest `history` items."""
        latest = sequences.where(sequences.from_end < self._settings.history)
        rows = np.flatnonzero(latest.lengths)
        encoded = vectors.new_zeros(len(sequences), vectors.shape[1])
        if len(rows):
            shown = latest.select(rows)
            encoded[rows] = self._states(model, shown, [np.array([n - 1]) for n in shown.lengths]).to(encoded.device)
        return encoded

    def _states(self, model: nn.Module, sequences: Sequences, items: list[Ints]) -> torch.Tensor:
        """States at the last tokens of some items of each sequence (positions in it), in order: [n, d]."""
        rows, ends = self._tokens.joined(sequences)
        first = np.cumsum([0, *map(len, items)])
        processes = self._reader.processes
        share = processes.share(len(rows))
        parts, order = [], [np.arange(0)]
        for batch, ids, mask in self._tokens.joined_batches([rows[row] for row in share]):
            which = share[batch]
            columns = [ends[row][items[row]] for row in which]
            lines = np.repeat(np.arange(len(which)), [len(each) for each in columns])
            parts.append(self._reader.states(partial(_states_at, model, ids, mask, lines, np.concatenate(columns))))
            order.append(np.concatenate([np.arange(first[row], first[row + 1]) for row in which]))
        states = processes.joined(torch.cat(parts or [_no_states(model)]), np.concatenate(order), int(first[-1]))
        return self._reader.scaled(states)


def _followers(sequences: Sequences) -> Ints:
    """Events with one of the same user before them: flat positions, int64."""
    return np.flatnonzero(np.arange(len(sequences.items)) > sequences.offsets[:-1][sequences.users])


def hidden_states(model: nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The last hidden states of a batch, wherever its padding stands: float [n, width, d].

    Positions count tokens, so padding before the tokens changes nothing.
    """
    device = next(model.parameters()).device
    ids, mask = ids.to(device), mask.to(device)
    # Without padding in front, the model's own positions are right; some kinds do not start at 0.
    positions = {} if bool(mask[:, 0].all()) else {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
    states: torch.Tensor = model(input_ids=ids, attention_mask=mask, **positions).last_hidden_state
    return states


def _no_states(model: nn.Module) -> torch.Tensor:
    """The states of an empty batch, for a process whose share is empty: float32 [0, d]."""
    network: Any = model
    return torch.zeros(0, network.config.hidden_size, device=next(model.parameters()).device)


def _states_at(model: nn.Module, ids: torch.Tensor, mask: torch.Tensor, rows: Ints, columns: Ints) -> torch.Tensor:
    """The states of a batch at some places: float32 [n, d]."""
    return hidden_states(model, ids, mask)[torch.from_numpy(rows), torch.from_numpy(columns)].float()


@dataclass(frozen=True)
class Contexts:
    """The items that count of each of n histories, with their weights, as flat arrays.

    Attributes:
        offsets: int64 [n], where each history starts.
        items: int64 [total].
        weights: float32 [total].
    """

    offsets: Ints
    items: Ints
    weights: Floats32

    def pooled(self, item_vectors: torch.Tensor) -> torch.Tensor:
        """History vectors of unit length: float32 [n, d], differentiable in the item vectors [n_items, d].

        A history without items has the zero vector: it scores every item alike.
        """
        device = item_vectors.device
        summed = F.embedding_bag(
            torch.from_numpy(self.items).to(device),
            item_vectors,
            torch.from_numpy(self.offsets).to(device),
            mode="sum",
            per_sample_weights=torch.from_numpy(self.weights).to(device),
        )
        return F.normalize(summed, dim=-1)


def contexts_before(sequences: Sequences, events: Ints, settings: RetrieverSettings) -> Contexts:
    """The contexts in which some events happened: the items of the same user just before each.

    Args:
        sequences: all users' items.
        events: int64 [n], positions in the sequences' flat arrays.
        settings: how many items count, and how much.
    """
    starts = sequences.offsets[:-1][sequences.users[events]]
    return _contexts(sequences.items, events, np.minimum(events - starts, settings.history), settings.decay)


def contexts_of(histories: Sequences, settings: RetrieverSettings) -> Contexts:
    """The contexts that whole histories give: int64 [n_users] of them."""
    return _contexts(
        histories.items,
        histories.offsets[1:],
        np.minimum(histories.lengths, settings.history),
        settings.decay,
    )


def _contexts(items: Ints, ends: Ints, lengths: Ints, decay: float) -> Contexts:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    position = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    flat = np.repeat(ends - lengths, lengths) + position
    age = np.repeat(lengths, lengths) - 1 - position
    return Contexts(offsets[:-1].copy(), items[flat], (decay**age).astype(np.float32))


def catalogue_vectors(model: nn.Module, encoder: HistoryEncoder) -> torch.Tensor:
    """The vectors of a whole catalogue, without gradients: float32 [n_items, d], on the model's device."""
    with torch.no_grad():
        return encoder.items(model, np.arange(len(encoder)))


def retriever(model: nn.Module, encoder: HistoryEncoder, vectors: torch.Tensor | None = None) -> DotProduct:
    """A scorer of a catalogue by dot products.

    Args:
        model: the model.
        encoder: of the catalogue and histories over it.
        vectors: float32 [n_items, d], the items' vectors if they are known; otherwise they are computed.
    """
    with autocast_bf16(next(model.parameters()).device.type):
        items = (catalogue_vectors(model, encoder) if vectors is None else vectors).float().cpu()

    def encode(histories: Histories) -> Floats32:
        # In the precision of the items' vectors, and of validation.
        with torch.no_grad(), autocast_bf16(next(model.parameters()).device.type):
            encoded: Floats32 = encoder.histories(model, histories.sequences, items).float().cpu().numpy()
        return encoded

    return DotProduct(items.numpy(), encode)
