"""Users that domains share: kept in all of them, or in one domain only."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from harness.data.domain import Domain
from harness.protocol.split import DomainTraining

OVERLAPS = ("kept", "none")


def person_ids(domain: Domain | DomainTraining, users: str | None) -> list[str]:
    """Ids of a domain's users that are equal in two domains only for one person.

    Args:
        domain: its user ids.
        users: the name of the shared id space, or None where the ids are the domain's own.
    """
    return [f"{_prefix(domain, users)}{user}" for user in domain.user_ids]


def user_ids_in_files(domain: DomainTraining, users: str | None) -> list[str]:
    """The ids that a domain's files have for its users, of a domain whose user ids are `person_ids`."""
    return [user.removeprefix(_prefix(domain, users)) for user in domain.user_ids]


def _prefix(domain: Domain | DomainTraining, users: str | None) -> str:
    return f"{users or f'domain {domain.name}'}:"


def without_overlap(domains: Mapping[str, Domain], users: Mapping[str, str | None], seed: int) -> dict[str, Domain]:
    """Keeps each shared user in one of the domains, by a draw that is the same on any machine.

    Catalogues stay whole and the k-core is not applied again: an item may be left with few interactions.

    Args:
        domains: by name.
        users: the id space of each domain's user ids; see `person_ids`.
        seed: the draw's seed.

    Returns:
        The domains, by name; one without shared users is unchanged.
    """
    names = {name: person_ids(domain, users[name]) for name, domain in domains.items()}
    homes: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        for person in names[name]:
            homes[person].append(name)
    return {
        name: domain.with_users(np.flatnonzero([_home(p, homes[p], seed) == name for p in names[name]]))
        for name, domain in domains.items()
    }


def _home(person: str, homes: list[str], seed: int) -> str:
    if len(homes) == 1:
        return homes[0]
    drawn = int.from_bytes(hashlib.sha256(f"{seed}:{person}".encode()).digest()[:8], "little")
    return homes[drawn % len(homes)]
