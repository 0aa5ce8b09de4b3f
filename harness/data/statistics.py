"""Dataset statistics as papers print them: sizes, lengths, density, texts, and the overlap of domains."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from harness.data.domain import Domain, Ints

_TOKEN = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class DomainStatistics:
    """Statistics of one domain.

    Attributes:
        name: of the domain.
        fingerprint: of its content.
        users, items, interactions: numbers of them.
        mean_length, median_length: interactions a user.
        density: interactions / (users x items).
        mean_tokens: words and punctuation marks an item text.
        without_text: items whose text is empty.
        duplicate_texts: items that share their text with another item, without empty texts.
        first, last: Unix seconds of the first and last interaction, rounded down; None without timestamps.
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
class DomainOverlap:
    """The overlap of two domains.

    Attributes:
        left, right: the domains' names.
        users: users in both; None if user ids cannot be compared.
        items: item ids in both; None if ids cannot be compared.
        texts: distinct item texts in both, without the empty text.
    """

    left: str
    right: str
    users: int | None
    items: int | None
    texts: int


def domain_statistics(domain: Domain) -> DomainStatistics:
    """Compute the statistics of a domain."""
    events, texts = domain.interactions, domain.catalogue.texts
    counts = Counter(text for text in texts if text)
    users, items = len(domain.user_ids), len(domain.catalogue)
    return DomainStatistics(
        name=domain.name,
        fingerprint=domain.fingerprint,
        users=users,
        items=items,
        interactions=len(events.items),
        mean_length=float(events.lengths.mean()),
        median_length=float(np.median(events.lengths)),
        density=len(events.items) / (users * items),
        mean_tokens=float(np.mean([len(_TOKEN.findall(text)) for text in texts])),
        without_text=sum(not text for text in texts),
        duplicate_texts=sum(count for count in counts.values() if count > 1),
        first=int(events.timestamps.min() // 10**9) if domain.timed else None,
        last=int(events.timestamps.max() // 10**9) if domain.timed else None,
    )


def domain_overlaps(domains: Sequence[Domain], id_spaces: Mapping[str, str | None]) -> list[DomainOverlap]:
    """Compute the overlap of each pair of domains.

    Args:
        domains: at least one.
        id_spaces: `Source.users` by domain name; ids of users and items are compared where it is equal and not None.
    """
    overlaps = []
    for left, right in combinations(domains, 2):
        comparable = id_spaces[left.name] is not None and id_spaces[left.name] == id_spaces[right.name]
        texts = ({text for text in domain.catalogue.texts if text} for domain in (left, right))
        overlaps.append(
            DomainOverlap(
                left.name,
                right.name,
                len(set(left.user_ids) & set(right.user_ids)) if comparable else None,
                len(set(left.catalogue.item_ids) & set(right.catalogue.item_ids)) if comparable else None,
                len(set.intersection(*texts)),
            )
        )
    return overlaps


def lengths(domain: Domain) -> Ints:
    """Number of interactions of each user, ascending: int64 [n_users]."""
    return np.sort(domain.interactions.lengths)


def popularity(domain: Domain) -> Ints:
    """Number of interactions of each item, descending: int64 [n_items]."""
    return -np.sort(-np.bincount(domain.interactions.items, minlength=len(domain.catalogue)))
