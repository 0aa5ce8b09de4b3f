"""Generated domains between which transfer helps, harms or has no effect, by known amounts.

Items have topics, which their texts name: "copper kettle 2". A user moves from topic to topic in a first-order Markov
chain: from topic a to next(a) with probability `STRENGTH`, otherwise to a uniformly drawn topic; the item is a
uniformly drawn one of the topic that the user has not had. The *target* is too small to learn its transitions well.
Its sources are larger:

- *helpful*: other items of the same topics, the same transitions.
- *harmful*: other items of the same topics, contradicting transitions: every topic has another successor.
- *neutral*: other topics, whose words do not occur in the target.

So the effect of transfer is known: see `known_ndcg`. The domains share no users and cover the same two years.
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
    """Parameters of one generated domain.

    Attributes:
        users: number of users.
        shortest, longest: events a user, uniformly distributed.
        shift: the successor of topic a is topic (a + shift) modulo the number of topics.
        first_number: first number in its items' texts, so that texts of two domains differ.
        other_topics: whether its topics are different from the target's.
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
    """Generate one domain, the same on every machine.

    Args:
        part: one of `PARTS`.
        seed: of the random generator.

    Returns:
        Interactions (user_id, item_id, timestamp in Unix seconds) and items (item_id, text).

    Raises:
        HarnessError: no such part.
    """
    if part not in PARTS:
        raise HarnessError.unknown("planted domain", part, PARTS)
    parameters = PARTS[part]
    # Only doubles are drawn: numpy guarantees that their stream never changes.
    rng = np.random.Generator(np.random.PCG64([seed, sorted(PARTS).index(part)]))
    users, items, times = [], [], []
    for user in range(parameters.users):
        sequence = _sequence(parameters, rng)
        users += [f"{part}-{user}"] * len(sequence)
        items += sequence
        times += sorted((_FIRST_SECOND + _SECONDS * rng.random(len(sequence))).astype(np.int64).tolist())
    # One extra user for each item, with this event alone: too short for any split, but it completes the catalogue.
    for item in range(TOPICS * ITEMS_PER_TOPIC):
        users.append(f"{part}-visitor-{item}")
        items.append(item)
        times.append(_FIRST_SECOND)
    interactions = pd.DataFrame({"user_id": users, "item_id": [f"{part}-{item}" for item in items], "timestamp": times})
    texts = [_text(parameters, item) for item in range(TOPICS * ITEMS_PER_TOPIC)]
    catalogue = pd.DataFrame({"item_id": [f"{part}-{item}" for item in range(len(texts))], "text": texts})
    return interactions, catalogue


def topic_of(item: int) -> int:
    """The topic of an item, by the item's number in its domain."""
    return item // ITEMS_PER_TOPIC


def transition_matrix(part: str) -> Floats:
    """Transition probabilities between a part's topics: float64 [TOPICS, TOPICS], rows sum to 1."""
    probabilities = np.full((TOPICS, TOPICS), (1 - STRENGTH) / TOPICS)
    probabilities[np.arange(TOPICS), (np.arange(TOPICS) + PARTS[part].shift) % TOPICS] += STRENGTH
    return probabilities


def known_ndcg(histories: list[Ints], assumed: Floats, k: int = 10) -> Floats:
    """Expected NDCG@k of the next item of target users, for a ranking by assumed transition probabilities.

    Exact, not simulated: the sum over topics of the probability, under the target's transitions, that the next item is
    of the topic, times the mean gain of the tied ranks of its items. Candidates are the items outside the history.

    Args:
        histories: item numbers of each user so far, oldest first.
        assumed: float64 [TOPICS, TOPICS].
        k: cutoff.

    Returns:
        float64 [n_users].
    """
    gains = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    truth = transition_matrix("target")
    expected = []
    for history in histories:
        last = topic_of(int(history[-1]))
        left = ITEMS_PER_TOPIC - np.bincount(np.asarray(history) // ITEMS_PER_TOPIC, minlength=TOPICS)
        # A topic without remaining items is never drawn.
        probability = np.where(left > 0, truth[last], 0)
        probability = probability / probability.sum()
        score = np.where(left > 0, assumed[last] / np.maximum(left, 1), -1).round(12)
        above = np.array([left[score > s].sum() for s in score])
        tied = np.array([left[score == s].sum() for s in score])
        gain = gains[np.minimum(above + tied, k)] - gains[np.minimum(above, k)]
        expected.append(float((probability * gain / np.maximum(tied, 1)).sum()))
    return np.array(expected)


def _sequence(parameters: PlantedPart, rng: np.random.Generator) -> list[int]:
    """One user's items, oldest first."""
    length = parameters.shortest + int(rng.random() * (parameters.longest - parameters.shortest + 1))
    topic = int(rng.random() * TOPICS)
    sequence: list[int] = []
    while len(sequence) < length:
        left = [topic * ITEMS_PER_TOPIC + i for i in range(ITEMS_PER_TOPIC)]
        left = [item for item in left if item not in sequence]
        if left:
            sequence.append(left[int(rng.random() * len(left))])
            last = topic
        # If the topic has no items left, the next topic is drawn again from the same last topic.
        topic = (last + parameters.shift) % TOPICS if rng.random() < STRENGTH else int(rng.random() * TOPICS)
    return sequence


def _text(parameters: PlantedPart, item: int) -> str:
    kinds, things = (_OTHER_KINDS, _OTHER_THINGS) if parameters.other_topics else (_KINDS, _THINGS)
    kind, thing = divmod(topic_of(item), len(things))
    return f"{kinds[kind]} {things[thing]} {parameters.first_number + item % ITEMS_PER_TOPIC}"
