"""Users that domains share: kept, or each left in one domain only."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from harness.data.domain import Domain
from harness.protocol.split import DomainTraining

OVERLAPS = ("kept", "none")


def people(domain: Domain | DomainTraining, users: str | None) -> list[str]:
    """Names of a domain's users that are equal in two domains only if the person is.

    Args:
        domain: its user ids.
        users: whose ids they are, or None where they are the domain's own.
    """
    return [f"{_prefix(domain, users)}{user}" for user in domain.user_ids]


def own_ids(domain: DomainTraining, users: str | None) -> list[str]:
    """The ids that a domain's files have for its users, of a domain whose user ids are `people`'s."""
    return [user.removeprefix(_prefix(domain, users)) for user in domain.user_ids]


def _prefix(domain: Domain | DomainTraining, users: str | None) -> str:
    return f"{users or f'domain {domain.name}'}:"


def without_overlap(domains: Mapping[str, Domain], users: Mapping[str, str | None], seed: int) -> dict[str, Domain]:
    """Leaves each shared user in one of the domains, by a draw that is the same on any machine.

    Catalogues stay whole, and the k-core is not taken again: an item may be left with few interactions.

    Args:
        domains: by name.
        users: whose ids each domain's user ids are; see `people`.
        seed: the draw's seed.

    Returns:
        The domains, by name; one that shares nobody is as it was.
    """
    names = {name: people(domain, users[name]) for name, domain in domains.items()}
    homes: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        for person in names[name]:
            homes[person].append(name)
    return {
        name: _only(domain, np.array([_home(p, homes[p], seed) == name for p in names[name]], dtype=bool))
        for name, domain in domains.items()
    }


def _home(person: str, homes: list[str], seed: int) -> str:
    if len(homes) == 1:
        return homes[0]
    drawn = int.from_bytes(hashlib.sha256(f"{seed}:{person}".encode()).digest()[:8], "little")
    return homes[drawn % len(homes)]


def _only(domain: Domain, stays: NDArray[np.bool_]) -> Domain:
    if stays.all():
        return domain
    left = np.flatnonzero(stays)
    train_only = np.flatnonzero(np.isin(left, domain.train_only))
    return Domain(
        domain.name,
        domain.catalogue,
        tuple(domain.user_ids[user] for user in left),
        domain.interactions.select(left),
        domain.timed,
        tuple(train_only.tolist()),
    )
