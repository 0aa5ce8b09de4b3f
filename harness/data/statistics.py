"""What papers print about their data: sizes, lengths, density, texts, and what domains share."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from harness.data.domain import Domain, Ints

_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Description:
    """One domain in figures.

    Attributes:
        name: of the domain.
        fingerprint: of its content.
        users, items, interactions: how many.
        mean_length, median_length: interactions a user.
        density: interactions / (users x items).
        mean_tokens: words and punctuation marks an item text.
        without_text: items whose text is empty.
        duplicate_texts: items whose text another item has too (empty ones aside).
        first, last: Unix seconds of the first and last interaction, rounded down; None where there are no timestamps.
    """

    name: str
    fingerprint: str
    users: int
    items: int
    interactions: int
    mean_length: float
    median_length: float
    density: float
    mean_tokens: float
    without_text: int
    duplicate_texts: int
    first: int | None
    last: int | None


@dataclass(frozen=True)
class Shared:
    """What two domains have in common.

    Attributes:
        left, right: the domains' names.
        users: people in both; None where user ids cannot be compared.
        items: item ids in both; None where ids cannot be compared.
        texts: distinct item texts in both (empty ones aside).
    """

    left: str
    right: str
    users: int | None
    items: int | None
    texts: int


def describe(domain: Domain) -> Description:
    """One domain in figures."""
    events, texts = domain.interactions, domain.catalogue.texts
    counts = Counter(text for text in texts if text)
    users, items = len(domain.user_ids), len(domain.catalogue)
    return Description(
        name=domain.name,
        fingerprint=domain.fingerprint,
        users=users,
        items=items,
        interactions=len(events.items),
        mean_length=float(events.lengths.mean()),
        median_length=float(np.median(events.lengths)),
        density=len(events.items) / (users * items),
        mean_tokens=float(np.mean([len(_WORD.findall(text)) for text in texts])),
        without_text=sum(not text for text in texts),
        duplicate_texts=sum(count for count in counts.values() if count > 1),
        first=int(events.timestamps.min() // 10**9) if domain.timed else None,
        last=int(events.timestamps.max() // 10**9) if domain.timed else None,
    )


def shared(domains: Sequence[Domain], users: Mapping[str, str | None]) -> list[Shared]:
    """What each two of some domains share.

    Args:
        domains: at least one.
        users: by domain name, whose user ids its ids are; ids of users and items are compared where it is equal.
    """
    found = []
    for left, right in combinations(domains, 2):
        same = users[left.name] is not None and users[left.name] == users[right.name]
        texts = ({text for text in domain.catalogue.texts if text} for domain in (left, right))
        found.append(
            Shared(
                left.name,
                right.name,
                len(set(left.user_ids) & set(right.user_ids)) if same else None,
                len(set(left.catalogue.item_ids) & set(right.catalogue.item_ids)) if same else None,
                len(set.intersection(*texts)),
            )
        )
    return found


def lengths(domain: Domain) -> Ints:
    """Interactions of each user, rising: int64 [n_users]."""
    return np.sort(domain.interactions.lengths)


def popularity(domain: Domain) -> Ints:
    """Interactions of each item, falling: int64 [n_items]."""
    return -np.sort(-np.bincount(domain.interactions.items, minlength=len(domain.catalogue)))
