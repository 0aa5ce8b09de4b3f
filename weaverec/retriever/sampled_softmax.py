"""The softmax over a catalogue, from the items that a step encodes.

What a history holds is no candidate when a method is evaluated, so it is none here: a prefix's earlier items are left
out, and only the item that follows stays if it is one of them. With one encoder for items and histories, a history is
nearest to its own items; kept as negatives, they would be most of what training works against.

While the catalogue fits into a step, it is the softmax itself. Above, a step encodes the items of its users and some
drawn uniformly. An item that is there with probability q stands for 1 / q of its kind, so log q is taken off its score:
the sum over the sample then estimates the sum over the catalogue without bias (Horvitz and Thompson, 1952; Bengio and
Senecal, 2008, for the softmax). The estimate is made for each prefix, given that its own user is in the step: the
items of that user are there for certain.

No vector stands in the softmax as it was some steps ago. With old vectors for all that a step does not encode, training
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


def user_shares(reading: HistoryEncoder, sequences: Sequences, users: Ints) -> Floats32:
    """For each item, the share of some users who bring it into a step: float32 [n_items]."""
    counts = np.zeros(len(reading))
    for user in users:
        counts[reading.required_items(sequences.select(np.array([user])))] += 1
    return (counts / max(1, len(users))).astype(np.float32)


@dataclass(frozen=True)
class StepItems:
    """The items that a step encodes.

    Attributes:
        items: int64 [n], rising.
        log_chance: float32 [n], the log of the chance that an item is among them for another reason than that the
            user of a prefix has it; 0 if the whole catalogue is there.
    """

    items: Ints
    log_chance: Floats32


def step_items(touched: Ints, shares: Floats32, n_users: int, size: int, rng: np.random.Generator) -> StepItems:
    """The items of a step's users, and uniform draws that fill them up.

    Args:
        touched: int64 [n], what the users bring, rising.
        shares: float32 [n_items], the share of all training users who would bring each item.
        n_users: how many users the step has.
        size: how many items to encode; the touched ones are taken even if they are more.
        rng: for the draws.
    """
    n_items = len(shares)
    others = np.setdiff1d(np.arange(n_items), touched)
    drawn = min(max(0, size - len(touched)), len(others))
    items: Ints = np.union1d(touched, rng.choice(others, drawn, replace=False))
    if len(items) == n_items:
        return StepItems(items, np.zeros(n_items, dtype=np.float32))
    # By one of the other users, or else by a draw.
    brought = 1 - (1 - shares[items]) ** (n_users - 1)
    chance = brought + (1 - brought) * (len(items) - len(touched)) / (n_items - len(touched))
    # What nobody else would bring and no draw would find is its user's own, and not corrected.
    return StepItems(items, np.log(np.maximum(chance, np.finfo(np.float32).tiny)).astype(np.float32))


def scattered(vectors: torch.Tensor, items: Ints, n_items: int) -> torch.Tensor:
    """Vectors of some items in a table of the whole catalogue, 0 elsewhere: float32 [n_items, d], differentiable."""
    places = torch.from_numpy(items).to(vectors.device)
    return vectors.new_zeros(n_items, vectors.shape[1]).index_copy(0, places, vectors)


def softmax_loss(
    prefixes: Prefixes, own: Sequences, step: StepItems, vectors: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Cross-entropy of the items that follow, among all but the earlier ones, mean over prefixes: float32 [].

    Args:
        prefixes: of the step's users, with the items that follow among the step's.
        own: the sequences of these users.
        step: what was encoded.
        vectors: float32 [n, d], of the step's items.
        temperature: divisor of the dot products.
    """
    users = own.users[prefixes.events]
    targets = np.searchsorted(step.items, own.items[prefixes.events])
    first = _first_events(own, step)
    earlier = first[users] < prefixes.events[:, None]
    earlier[np.arange(len(targets)), targets] = False
    scores = prefixes.vectors.float() @ vectors.T / temperature
    scores = _corrected(scores, _log_chances(first, own, step)[users], earlier)
    return F.cross_entropy(scores, torch.from_numpy(targets).to(vectors.device))


def softmax_entropy(
    histories: torch.Tensor, own: Sequences, step: StepItems, vectors: torch.Tensor, temperature: float
) -> torch.Tensor:
    """The entropy of the softmax over the catalogue less each history's items, in nats, mean over users: float32 [].

    The entropy is log Z less the mean score, and both are sums over the catalogue, estimated as in `softmax_loss`. That
    of a user who has all of the step's items is 0: there is one way to recommend nothing.

    Args:
        histories: float32 [n_users, d], what the step's users are served by.
        own: their sequences.
        step: what was encoded.
        vectors: float32 [n, d], of the step's items.
        temperature: divisor of the dot products.
    """
    first = _first_events(own, step)
    known = first < len(own.items)
    some = np.flatnonzero(~known.all(axis=1))
    scores = histories.float()[torch.from_numpy(some)] @ vectors.T / temperature
    weighed = _corrected(scores, _log_chances(first, own, step)[some], known[some])
    entropies = torch.logsumexp(weighed, dim=1) - (torch.softmax(weighed, dim=1) * scores).sum(1)
    return entropies.sum() / len(own)


def _first_events(own: Sequences, step: StepItems) -> Ints:
    """First event of each user with each of the step's items, `len(own.items)` if none: int64 [n_users, n]."""
    columns = np.searchsorted(step.items, own.items).clip(max=len(step.items) - 1)
    there = np.flatnonzero(step.items[columns] == own.items)  # a decoder-only model need not encode a first item
    first: Ints = np.full((len(own), len(step.items)), len(own.items), dtype=np.int64)
    np.minimum.at(first, (own.users[there], columns[there]), there)
    return first


def _log_chances(first: Ints, own: Sequences, step: StepItems) -> Floats32:
    """The log of the chance of each of the step's items to be there, for each user: float32 [n_users, n]."""
    return np.where(first < len(own.items), np.float32(0), step.log_chance)


def _corrected(scores: torch.Tensor, log_chances: Floats32, barred: NDArray[np.bool_]) -> torch.Tensor:
    """Scores [n, n_items] less the log of their chances, and -inf where barred."""
    corrected = scores - torch.from_numpy(log_chances).to(scores.device)
    return corrected.masked_fill(torch.from_numpy(barred).to(scores.device), -torch.inf)
