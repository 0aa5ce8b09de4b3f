"""Generated domains in which transfer helps, harms or does nothing by known amounts.

Items have topics, which their texts name: "copper kettle 2". A user goes from topic to topic by a first-order Markov
law: from topic a to next(a) with probability `strength`, else to any topic alike; the item is any of the topic's that
the user has not had. The *target* is small, too small to learn its law well. Its sources are larger:

- *helpful*: other items of the same topics, the same law.
- *harmful*: other items of the same topics, a law that contradicts it: no topic is followed by the same one.
- *neutral*: other topics, of which no word occurs in the target.

So what a method can gain and lose is known: see `known_ndcg`. Domains share no users and lie in the same two years.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.errors import HarnessError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_KINDS = [
    "amber",
    "bamboo",
    "canvas",
    "cedar",
    "copper",
    "cotton",
    "denim",
    "ivory",
    "leather",
    "marble",
    "silver",
    "velvet",
]
_THINGS = [
    "anchor",
    "basket",
    "candle",
    "drum",
    "envelope",
    "fountain",
    "globe",
    "hammer",
    "kettle",
    "lantern",
    "mirror",
    "saddle",
]
_OTHER_KINDS = [
    "angry",
    "brave",
    "clever",
    "dizzy",
    "eager",
    "gentle",
    "hungry",
    "jolly",
    "lazy",
    "modest",
    "nervous",
    "proud",
]
_OTHER_THINGS = [
    "badger",
    "camel",
    "dolphin",
    "eagle",
    "falcon",
    "goose",
    "heron",
    "iguana",
    "jackal",
    "koala",
    "lobster",
    "monkey",
]

_FIRST_SECOND, _SECONDS = 1_546_300_800, 63_072_000  # two years from 2019 on


@dataclass(frozen=True)
class PlantedPart:
    """How one planted domain is made.

    Attributes:
        users: how many.
        shortest, longest: events a user, all lengths alike likely.
        shift: from topic a the law leads to topic (a + shift) modulo the number of topics.
        first_number: of its items' numbers, which keep the texts of two domains apart.
        other_topics: whether its topics are none of the target's.
    """

    users: int
    shortest: int
    longest: int
    shift: int
    first_number: int
    other_topics: bool = False


TOPICS = len(_KINDS) * len(_THINGS)
ITEMS_PER_TOPIC = 3
STRENGTH = 0.5
PARTS = {
    "target": PlantedPart(users=250, shortest=5, longest=5, shift=31, first_number=1),
    "helpful": PlantedPart(users=3000, shortest=5, longest=9, shift=31, first_number=11),
    "harmful": PlantedPart(users=3000, shortest=5, longest=9, shift=67, first_number=21),
    "neutral": PlantedPart(users=3000, shortest=5, longest=9, shift=31, first_number=31, other_topics=True),
}


def planted_tables(part: str, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One planted domain, the same on any machine.

    Args:
        part: one of `PARTS`.
        seed: of all its draws.

    Returns:
        Interactions (user_id, item_id, timestamp in Unix seconds) and items (item_id, text).

    Raises:
        HarnessError: no such part.
    """
    if part not in PARTS:
        raise HarnessError.unknown("planted domain", part, PARTS)
    made = PARTS[part]
    # Of numpy's generator only doubles are drawn: their stream is promised never to change.
    rng = np.random.Generator(np.random.PCG64([seed, sorted(PARTS).index(part)]))
    users, items, times = [], [], []
    for user in range(made.users):
        sequence = _sequence(made, rng)
        users += [f"{part}-{user}"] * len(sequence)
        items += sequence
        times += sorted((_FIRST_SECOND + _SECONDS * rng.random(len(sequence))).astype(np.int64).tolist())
    # One visitor for each item, who has nothing else: too short for any split, but the catalogue is whole with them.
    for item in range(TOPICS * ITEMS_PER_TOPIC):
        users.append(f"{part}-visitor-{item}")
        items.append(item)
        times.append(_FIRST_SECOND)
    interactions = pd.DataFrame({"user_id": users, "item_id": [f"{part}-{item}" for item in items], "timestamp": times})
    texts = [_text(made, item) for item in range(TOPICS * ITEMS_PER_TOPIC)]
    catalogue = pd.DataFrame({"item_id": [f"{part}-{item}" for item in range(len(texts))], "text": texts})
    return interactions, catalogue


def topic_of(item: int) -> int:
    """The topic of an item by its number in its domain."""
    return item // ITEMS_PER_TOPIC


def law(part: str) -> Floats:
    """Transition probabilities of a part: float64 [TOPICS, TOPICS], rows sum to 1."""
    uniform = np.full((TOPICS, TOPICS), (1 - STRENGTH) / TOPICS)
    uniform[np.arange(TOPICS), (np.arange(TOPICS) + PARTS[part].shift) % TOPICS] += STRENGTH
    return uniform


def uniform_law() -> Floats:
    """What somebody believes who knows nothing: float64 [TOPICS, TOPICS]."""
    return np.full((TOPICS, TOPICS), 1 / TOPICS)


def known_ndcg(histories: list[Ints], believed: Floats, k: int = 10) -> Floats:
    """Expected NDCG@k of the next item of target users, for somebody who ranks by a law they believe in.

    Exact, not simulated: for each topic, the probability under the target's law that the next item is of it, times
    the mean gain of the ranks that its items tie for. Candidates are the items outside the history.

    Args:
        histories: item numbers of each user so far, oldest first.
        believed: float64 [TOPICS, TOPICS].
        k: cutoff.

    Returns:
        float64 [n_users].
    """
    gains = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    truth = law("target")
    expected = []
    for history in histories:
        last = topic_of(int(history[-1]))
        left = ITEMS_PER_TOPIC - np.bincount(np.asarray(history) // ITEMS_PER_TOPIC, minlength=TOPICS)
        # A topic of which nothing is left is never drawn.
        probability = np.where(left > 0, truth[last], 0)
        probability = probability / probability.sum()
        score = np.where(left > 0, believed[last] / np.maximum(left, 1), -1).round(12)
        above = np.array([left[score > s].sum() for s in score])
        tied = np.array([left[score == s].sum() for s in score])
        gain = gains[np.minimum(above + tied, k)] - gains[np.minimum(above, k)]
        expected.append(float((probability * gain / np.maximum(tied, 1)).sum()))
    return np.array(expected)


def _sequence(made: PlantedPart, rng: np.random.Generator) -> list[int]:
    """One user's items, oldest first."""
    length = made.shortest + int(rng.random() * (made.longest - made.shortest + 1))
    topic = int(rng.random() * TOPICS)
    sequence: list[int] = []
    while len(sequence) < length:
        left = [topic * ITEMS_PER_TOPIC + i for i in range(ITEMS_PER_TOPIC)]
        left = [item for item in left if item not in sequence]
        if left:
            sequence.append(left[int(rng.random() * len(left))])
            last = topic
        # Drawn again from the last topic if this one is used up.
        topic = (last + made.shift) % TOPICS if rng.random() < STRENGTH else int(rng.random() * TOPICS)
    return sequence


def _text(made: PlantedPart, item: int) -> str:
    kinds, things = (_OTHER_KINDS, _OTHER_THINGS) if made.other_topics else (_KINDS, _THINGS)
    kind, thing = divmod(topic_of(item), len(things))
    return f"{kinds[kind]} {things[thing]} {made.first_number + item % ITEMS_PER_TOPIC}"
