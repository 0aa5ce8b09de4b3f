"""The softmax over a catalogue, computed from the items that a step encodes.

A prefix's earlier items are masked, as the evaluation takes them out of the candidates; the target always stays. Items
and histories share one encoder, so a history is nearest to its own items; as negatives they would dominate the loss.

If the catalogue fits into a step, the softmax is exact. If not, a step encodes the items of its users and some uniform
draws. An item that is encoded with probability q stands for 1 / q items, so log q is subtracted from its score: the sum
over the sample is then an unbiased estimate of the sum over the catalogue (Horvitz and Thompson, 1952; Bengio and
Senecal, 2008, for the softmax). The probability is conditional on the prefix's own user being in the step, so that
user's items are certain.

All vectors are those of the current weights. With older vectors for the items that a step does not encode, training
teaches the model to tell new vectors from old ones, and it forgets what it knew.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from harness.data.domain import Ints, Sequences
from harness.methods.api import Floats32
from weaverec.retriever.encoding import HistoryEncoder, Prefixes


def user_shares(encoder: HistoryEncoder, sequences: Sequences, users: Ints) -> Floats32:
    """For each item, the share of the users for whom a step has to encode it: float32 [n_items]."""
    counts = np.zeros(len(encoder))
    for user in users:
        counts[encoder.required_items(sequences.select(np.array([user])))] += 1
    return (counts / max(1, len(users))).astype(np.float32)


@dataclass(frozen=True)
class StepItems:
    """The items that a step encodes.

    Attributes:
        items: int64 [n], rising.
        log_probability: float32 [n], log of the probability that an item is encoded without the user of a prefix; 0 if
            the whole catalogue is encoded.
    """

    items: Ints
    log_probability: Floats32


def step_items(required: Ints, shares: Floats32, n_users: int, size: int, rng: np.random.Generator) -> StepItems:
    """The items that a step's users require, and uniform draws up to a number of items.

    Args:
        required: int64 [n], rising.
        shares: float32 [n_items], the share of all training users who require each item.
        n_users: users in the step.
        size: items to encode; all required ones are encoded even if they are more.
        rng: for the draws.
    """
    n_items = len(shares)
    others = np.setdiff1d(np.arange(n_items), required)
    n_drawn = min(max(0, size - len(required)), len(others))
    items: Ints = np.union1d(required, rng.choice(others, n_drawn, replace=False))
    if len(items) == n_items:
        return StepItems(items, np.zeros(n_items, dtype=np.float32))
    # Required by one of the other users, or else drawn.
    by_others = 1 - (1 - shares[items]) ** (n_users - 1)
    probability = by_others + (1 - by_others) * (len(items) - len(required)) / (n_items - len(required))
    # An item with probability 0 is required by the prefix's own user, and is not corrected.
    return StepItems(items, np.log(np.maximum(probability, np.finfo(np.float32).tiny)).astype(np.float32))


def scattered(vectors: torch.Tensor, items: Ints, n_items: int) -> torch.Tensor:
    """Vectors of some items in a table of the whole catalogue, 0 elsewhere: float32 [n_items, d], differentiable."""
    index = torch.from_numpy(items).to(vectors.device)
    return vectors.new_zeros(n_items, vectors.shape[1]).index_copy(0, index, vectors)


def softmax_loss(
    prefixes: Prefixes, sequences: Sequences, step: StepItems, vectors: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Cross-entropy of the target of each prefix among all items but the prefix's earlier ones, mean: float32 [].

    Args:
        prefixes: of the step's users; their targets are among the step's items.
        sequences: of these users.
        step: the encoded items.
        vectors: float32 [n, d], of the step's items.
        temperature: divisor of the dot products.
    """
    users = sequences.users[prefixes.events]
    targets = np.searchsorted(step.items, sequences.items[prefixes.events])
    first = _first_events(sequences, step)
    earlier = first[users] < prefixes.events[:, None]
    earlier[np.arange(len(targets)), targets] = False
    scores = prefixes.vectors.float() @ vectors.T / temperature
    scores = _corrected(scores, _log_probabilities(first, sequences, step)[users], earlier)
    return F.cross_entropy(scores, torch.from_numpy(targets).to(vectors.device))


def softmax_entropy(
    histories: torch.Tensor, sequences: Sequences, step: StepItems, vectors: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Entropy of the softmax over the catalogue without each history's items, in nats, mean over users: float32 [].

    The entropy is log Z minus the mean score; both are sums over the catalogue, estimated as in `softmax_loss`. It is 0
    for a user who has all of the step's items.

    Args:
        histories: float32 [n_users, d], vectors of the histories of the step's users.
        sequences: of these users.
        step: the encoded items.
        vectors: float32 [n, d], of the step's items.
        temperature: divisor of the dot products.
    """
    first = _first_events(sequences, step)
    seen = first < len(sequences.items)
    rows = np.flatnonzero(~seen.all(axis=1))
    scores = histories.float()[torch.from_numpy(rows)] @ vectors.T / temperature
    corrected = _corrected(scores, _log_probabilities(first, sequences, step)[rows], seen[rows])
    entropies = torch.logsumexp(corrected, dim=1) - (torch.softmax(corrected, dim=1) * scores).sum(1)
    return entropies.sum() / len(sequences)


def _first_events(sequences: Sequences, step: StepItems) -> Ints:
    """First event of each user with each of the step's items, `len(sequences.items)` if none: int64 [n_users, n]."""
    columns = np.searchsorted(step.items, sequences.items).clip(max=len(step.items) - 1)
    events = np.flatnonzero(step.items[columns] == sequences.items)  # a decoder-only model need not encode a first item
    first: Ints = np.full((len(sequences), len(step.items)), len(sequences.items), dtype=np.int64)
    np.minimum.at(first, (sequences.users[events], columns[events]), events)
    return first


def _log_probabilities(first: Ints, sequences: Sequences, step: StepItems) -> Floats32:
    """Log of the probability that each of the step's items is encoded, given each user: float32 [n_users, n]."""
    return np.where(first < len(sequences.items), np.float32(0), step.log_probability)


def _corrected(scores: torch.Tensor, log_probabilities: Floats32, masked: NDArray[np.bool_]) -> torch.Tensor:
    """Scores [n, n_items] minus the log probabilities, and -inf where masked."""
    corrected = scores - torch.from_numpy(log_probabilities).to(scores.device)
    return corrected.masked_fill(torch.from_numpy(masked).to(scores.device), -torch.inf)
