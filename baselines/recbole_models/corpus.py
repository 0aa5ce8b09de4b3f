"""Training data of ID models: the sequences of one domain, or of several domains in one catalogue."""

from dataclasses import dataclass

import numpy as np

from harness.data.domain import Sequences
from harness.protocol.split import DomainTraining


@dataclass(frozen=True)
class Part:
    """A domain inside a corpus.

    Attributes:
        domain: the domain.
        first_item: index of its first item in the corpus.
        first_user: index of its first user in the corpus.
    """

    domain: DomainTraining
    first_item: int
    first_user: int

    @property
    def n_items(self) -> int:
        """Size of the domain's catalogue."""
        return len(self.domain.catalogue)


@dataclass(frozen=True)
class Corpus:
    """Training sequences over one catalogue.

    A user of two domains counts as two users: without a common clock, their sequences cannot be merged in order.

    Attributes:
        parts: the domains.
        sequences: the concatenated training sequences of the domains.
        texts: the concatenated texts of their items.
    """

    parts: tuple[Part, ...]
    sequences: Sequences
    texts: tuple[str, ...]

    @classmethod
    def of(cls, *domains: DomainTraining) -> "Corpus":
        """Concatenate domains to a corpus."""
        parts: list[Part] = []
        n_items = n_users = 0
        for domain in domains:
            parts.append(Part(domain, n_items, n_users))
            n_items += len(domain.catalogue)
            n_users += len(domain.train)
        lengths = np.concatenate([domain.train.lengths for domain in domains])
        return cls(
            tuple(parts),
            Sequences(
                np.concatenate([[0], np.cumsum(lengths)]),
                np.concatenate([part.domain.train.items + part.first_item for part in parts]),
                np.concatenate([domain.train.timestamps for domain in domains]),
            ),
            tuple(text for domain in domains for text in domain.catalogue.texts),
        )

    @property
    def n_items(self) -> int:
        """Size of the whole catalogue."""
        return len(self.texts)
