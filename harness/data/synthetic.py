"""Generated domains between which transfer helps, harms or has no effect: texts tell what a user likes.

Each user likes one kind of items: with probability `strength` the next item is a uniform draw from that kind, otherwise
from all items, and always one that the user has not had. This is a law of similarity, which a model that reads items
and histories alike can express. An item's text is two words of its kind; which words form a kind is random, so that
their usual meaning says nothing.

The *target* has few events. Its sources have more, and two steps an epoch for one of the target:

- *helpful*: other texts of the same kinds of words, the same law.
- *harmful*: the target's own texts, but no two items of a kind are of one kind in the target. No text tells the domains
  apart, so what the source teaches about the target's items is wrong, and a model that learns from both has to
  compromise. (With words of its own kinds instead of the target's texts it would do no harm to a model that learns
  both laws side by side.)
- *neutral*: all items of a kind have the same text, of words that the target does not have. A pre-trained model knows
  that equal texts are alike, so there is hardly anything to learn. (Kinds of other words would not be neutral:
  learning them moves the vectors of the target's words too.)

The highest NDCG and HR that a method can expect are exact: see `ceiling`. The domains share no users and cover the
same two years.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.errors import HarnessError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_FIRST_SECOND, _SECONDS = 1_546_300_800, 63_072_000  # two years from 2019 on

# Each is one token of MiniLM's vocabulary.
_WORDS = [
    "anchor", "apple", "arrow", "bamboo", "barrel", "basket", "beach", "bell", "bench", "blanket", "bottle",
    "bread", "brick", "bridge", "brush", "butter", "button", "camel", "candle", "canvas", "carpet", "castle",
    "cedar", "cheese", "cherry", "chicken", "clock", "coffee", "coin", "copper", "coral", "corn", "cotton",
    "curtain", "diamond", "dolphin", "eagle", "engine", "flute", "forest", "fountain", "garden", "ginger", "glass",
    "globe", "gold", "hammer", "honey", "horn", "horse", "island", "jacket", "kettle", "key", "kitchen", "knife",
    "ladder", "lamp", "lantern", "leather", "lemon", "letter", "lion", "marble", "market", "milk", "mirror",
    "monkey", "moon", "mountain", "nest", "ocean", "olive", "onion", "orange", "pearl", "pencil", "pepper", "piano",
    "pillow",
]  # fmt: skip

KINDS = 8
ITEMS_PER_KIND = KINDS
ITEMS = KINDS * ITEMS_PER_KIND
WORDS_PER_ITEM = 2


@dataclass(frozen=True)
class PlantedPart:
    """Parameters of one generated domain.

    Attributes:
        users: number of users.
        lengths: events a user, drawn uniformly from these.
        strength: probability that an item is drawn from the user's kind.
        kinds: what the items of a kind have in common: their words; or two other words, which are the text of all of
            them; or nothing, as one item of each kind of the target is taken.
    """

    users: int
    lengths: tuple[int, ...]
    strength: float
    kinds: Literal["words", "equal texts", "across"] = "words"


_SOURCE = PlantedPart(users=1600, lengths=(6, 7, 8, 9), strength=0.95)
PARTS = {
    "target": PlantedPart(users=250, lengths=(3, 3, 3, 3, 4), strength=0.85),
    "helpful": _SOURCE,
    "harmful": replace(_SOURCE, kinds="across"),
    "neutral": replace(_SOURCE, kinds="equal texts"),
}


def planted_tables(part: str, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Generate one domain, the same on every machine.

    Args:
        part: one of `PARTS`.
        seed: of the words of each kind, which all parts share, and of the part's items and users.

    Returns:
        Interactions (user_id, item_id, timestamp in Unix seconds) and items (item_id, text).

    Raises:
        HarnessError: no such part.
    """
    if part not in PARTS:
        raise HarnessError.unknown("planted domain", part, PARTS)
    parameters = PARTS[part]
    rng = _part_generator(part, seed)
    texts = _texts(part, seed, rng)
    users, items, times = [], [], []
    for user in range(parameters.users):
        sequence = _sequence(parameters, rng)
        users += [f"{part}-{user}"] * len(sequence)
        items += sequence
        times += sorted((_FIRST_SECOND + _SECONDS * rng.random(len(sequence))).astype(np.int64).tolist())
    # One extra user for each item, with this event alone: too short for any split, but it completes the catalogue.
    for item in range(ITEMS):
        users.append(f"{part}-visitor-{item}")
        items.append(item)
        times.append(_FIRST_SECOND)
    interactions = pd.DataFrame({"user_id": users, "item_id": [f"{part}-{item}" for item in items], "timestamp": times})
    return interactions, pd.DataFrame({"item_id": [f"{part}-{item}" for item in range(ITEMS)], "text": texts})


def word_kinds(seed: int = 0) -> list[list[str]]:
    """The words of each kind of the target, with which the helpful source shares them."""
    kinds: list[list[str]] = _words(seed)[: KINDS**2].reshape(KINDS, KINDS).tolist()
    return kinds


def ceiling(histories: Iterable[Ints], strength: float, k: int = 10) -> tuple[Floats, Floats]:
    """Highest expected NDCG@k and HR@k of the next items of users who follow the law.

    Exact: the posterior probability of each kind after a history gives that of each next item. Ranking by it is
    optimal, since both gains fall with the rank. Candidates are the items outside the history; the gain of a tie is the
    mean over its ranks. Items of one kind have equal probabilities, so the sum is over kinds.

    Args:
        histories: item numbers of each user so far, oldest first.
        strength: of the users' domain.
        k: cutoff.

    Returns:
        NDCG and HR, float64 [n_users] each.
    """
    gains = np.stack([1 / np.log2(np.arange(2, k + 2)), np.ones(k)])
    summed = np.concatenate([np.zeros((2, 1)), np.cumsum(gains, axis=1)], axis=1)
    expected = []
    for history in histories:
        posterior, left = np.full(KINDS, 1 / KINDS), np.full(KINDS, ITEMS_PER_KIND)
        for item in history:
            posterior = posterior * _item_probabilities(left, strength)[:, item // ITEMS_PER_KIND]
            left[item // ITEMS_PER_KIND] -= 1
        # Of one item of each kind, rounded so that equal ones tie; a kind without remaining items is never drawn.
        probability = posterior @ _item_probabilities(left, strength) / posterior.sum()
        score = np.where(left > 0, probability.round(12), -1)
        above = np.array([left[score > each].sum() for each in score])
        tied = np.array([left[score == each].sum() for each in score])
        gain = summed[:, np.minimum(above + tied, k)] - summed[:, np.minimum(above, k)]
        expected.append((gain * left * probability / np.maximum(tied, 1)).sum(axis=1))
    ndcg, hr = np.array(expected).T
    return ndcg, hr


def _item_probabilities(left: Ints, strength: float) -> Floats:
    """Probability of a single next item by the user's kind (rows) and the item's kind (columns).

    Args:
        left: int64 [KINDS], items of each kind that the user has not had.
        strength: probability of a draw from the user's kind.
    """
    anything = np.full((KINDS, KINDS), 1 / left.sum())
    by_law = np.diag(strength / np.maximum(left, 1)) + (1 - strength) * anything
    # A user whose kind has no items left draws from all items.
    return np.where((left > 0)[:, None], by_law, anything)


def _sequence(parameters: PlantedPart, rng: np.random.Generator) -> list[int]:
    """One user's items, oldest first."""
    length = parameters.lengths[int(rng.random() * len(parameters.lengths))]
    kind = int(rng.random() * KINDS)
    sequence: list[int] = []
    while len(sequence) < length:
        left = [item for item in range(ITEMS) if item not in sequence]
        liked = [item for item in left if item // ITEMS_PER_KIND == kind]
        pool = liked if liked and rng.random() < parameters.strength else left
        sequence.append(pool[int(rng.random() * len(pool))])
    return sequence


def _texts(part: str, seed: int, rng: np.random.Generator) -> list[str]:
    """The items' texts, kind after kind. The words of a kind occur equally often."""
    kinds = PARTS[part].kinds
    if kinds == "equal texts":
        others = _words(seed)[KINDS**2 :].reshape(KINDS, WORDS_PER_ITEM)
        return [" ".join(words) for words in others for _ in range(ITEMS_PER_KIND)]
    if kinds == "across":
        target = _texts("target", seed, _part_generator("target", seed))
        return [text for first in range(ITEMS_PER_KIND) for text in target[first::ITEMS_PER_KIND]]
    texts = []
    for words in word_kinds(seed):
        order = [words[index] for _ in range(WORDS_PER_ITEM) for index in _permutation(len(words), rng)]
        texts += [" ".join(order[start : start + WORDS_PER_ITEM]) for start in range(0, len(order), WORDS_PER_ITEM)]
    return texts


def _words(seed: int) -> NDArray[np.str_]:
    """All words in random order."""
    return np.array(_WORDS)[_permutation(len(_WORDS), _generator(seed, 0))]


def _permutation(n: int, rng: np.random.Generator) -> list[int]:
    order: list[int] = np.argsort(rng.random(n), kind="stable").tolist()
    return order


def _part_generator(part: str, seed: int) -> np.random.Generator:
    return _generator(seed, 1 + list(PARTS).index(part))


def _generator(*seed: int) -> np.random.Generator:
    # Only doubles are drawn from it: numpy guarantees that their stream never changes.
    return np.random.Generator(np.random.PCG64(list(seed)))
