"""Splits. Training data and test are cut by two functions, so that nobody need hold both at once."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from harness.data.domain import Catalogue, Domain, Ints, Sequences


@dataclass(frozen=True)
class Histories:
    """What is known of some users before an event: all a scorer may look at.

    Attributes:
        users: int64 [n], dense user indices of the domain.
        sequences: their items so far, in the same order.
    """

    users: Ints
    sequences: Sequences

    def __len__(self) -> int:
        """Number of users."""
        return len(self.users)

    def block(self, start: int, stop: int) -> "Histories":
        """The users start..stop-1 of these."""
        rows = np.arange(start, min(stop, len(self)))
        return Histories(self.users[rows], self.sequences.select(rows))


@dataclass(frozen=True)
class HeldOut:
    """One event a user to predict.

    Attributes:
        histories: everything before the event.
        targets: int64 [n], the item of the event.
    """

    histories: Histories
    targets: Ints


@dataclass(frozen=True)
class DomainTraining:
    """What a method may see of one domain: its catalogue, train, and the validation event of each user.

    Attributes:
        name: the domain's name in the suite.
        catalogue: its items.
        user_ids: original user ids, in the order of the dense user index; one person has one id in all domains.
        train: every user's training events.
        validation: the event to select settings and checkpoints by.
        fingerprint: of the domain's content.
        split: what was held out, so that fingerprint and split together say what the training data are.
    """

    name: str
    catalogue: Catalogue
    user_ids: tuple[str, ...]
    train: Sequences
    validation: HeldOut
    fingerprint: str
    split: str

    @property
    def identity(self) -> str:
        """Equal for equal training data: what an artefact trained on them names as its input."""
        return f"{self.fingerprint}/{self.split}"


@dataclass(frozen=True)
class TrainingData:
    """What a method may see of a scenario. No test event is in it, nor reachable from it.

    Attributes:
        target: name of the target domain.
        sources: names of the source domains, in the scenario's order.
        domains: the target and every source by name.
    """

    target: str
    sources: tuple[str, ...]
    domains: Mapping[str, DomainTraining]

    @property
    def target_domain(self) -> DomainTraining:
        """The target domain."""
        return self.domains[self.target]


def leave_one_out_training(domain: Domain) -> DomainTraining:
    """Leave-one-out: all but the last two events train, the last but one validates. Copies, never views.

    A user with fewer than three events has nothing to train on, validate and test, and takes no part in
    validation or test; the 5-core leaves no such user.
    """
    seen = domain.interactions.without_last(1)
    return DomainTraining(
        name=domain.name,
        catalogue=domain.catalogue,
        user_ids=domain.user_ids,
        train=domain.interactions.without_last(2),
        validation=_last_held_out(seen, np.flatnonzero(domain.interactions.lengths >= 3)),
        fingerprint=domain.fingerprint,
        split="leave-one-out",
    )


def leave_one_out_test(domain: Domain) -> HeldOut:
    """Leave-one-out: the last event of each user, with everything before it as history."""
    return _last_held_out(domain.interactions, np.flatnonzero(domain.interactions.lengths >= 3))


def _last_held_out(sequences: Sequences, users: Ints) -> HeldOut:
    chosen = sequences.select(users)
    targets = chosen.items[chosen.offsets[1:] - 1].copy()
    targets.flags.writeable = False
    return HeldOut(Histories(users, chosen.without_last(1)), targets)
