"""Splits: training data and test events, cut by two functions so that no caller holds both."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from harness.data.domain import Catalogue, Domain, Ints, Sequences
from harness.data.times import as_seconds
from harness.errors import HarnessError


@dataclass(frozen=True)
class Histories:
    """Users' items before an event: all that a scorer may see.

    Attributes:
        users: int64 [n], dense user indices of the domain.
        sequences: their items so far, one row for each of `users`.
    """

    users: Ints
    sequences: Sequences

    def __len__(self) -> int:
        """Number of users."""
        return len(self.users)

    def block(self, start: int, stop: int) -> "Histories":
        """The users start..stop-1 of these."""
        return self.select(np.arange(start, min(stop, len(self))))

    def select(self, rows: Ints) -> "Histories":
        """Some of these users (int64 [n]), in that order."""
        return Histories(self.users[rows], self.sequences.select(rows))


@dataclass(frozen=True)
class HeldOut:
    """One event per user to predict.

    Attributes:
        histories: everything before the event.
        targets: int64 [n], the item of the event.
        times: int64 [n], Unix nanoseconds of the event; its position in the sequence where the domain is not timed.
    """

    histories: Histories
    targets: Ints
    times: Ints


@dataclass(frozen=True)
class DomainTraining:
    """The training data of one domain: its catalogue, train, and the validation event of each user.

    Attributes:
        name: the domain's name in the suite.
        catalogue: its items.
        user_ids: original user ids, in the order of the dense user index; one person has one id in all domains.
        train: every user's training events.
        validation: the events that settings and checkpoints are selected by.
        fingerprint: of the domain's content.
        split: identity of the split; fingerprint and split together identify the training data.
        timed: whether timestamps are instants.
    """

    name: str
    catalogue: Catalogue
    user_ids: tuple[str, ...]
    train: Sequences
    validation: HeldOut
    fingerprint: str
    split: str
    timed: bool = True

    @property
    def identity(self) -> str:
        """Equal for equal training data; artefacts trained on them name it as their input."""
        return f"{self.fingerprint}/{self.split}"

    @property
    def selected_on_test(self) -> bool:
        """Whether the validation events are the test events."""
        return self.split == SelectedOnTest().identity


@dataclass(frozen=True)
class TrainingData:
    """All that a method may see of a scenario. It holds no test event unless its split is `SelectedOnTest`.

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


class Split(Protocol):
    """A rule for what is held out, the same for every domain of a scenario.

    Training and test are cut by two methods, so that no caller holds both; they return copies, never views.
    """

    @property
    def identity(self) -> str:
        """Equal for equal rules, instants included."""
        ...

    def training(self, domain: Domain) -> DomainTraining:
        """The training data of a domain."""
        ...

    def test(self, domain: Domain) -> HeldOut:
        """The test events of a domain."""
        ...


@dataclass(frozen=True)
class LeaveOneOut:
    """A user's last event is test, the last but one validation, the rest train.

    A user with fewer than three events takes no part in validation or test; the 5-core leaves no such user. The same
    holds for a user of whom the source holds nothing out: all events of such a user train.
    """

    @property
    def identity(self) -> str:
        """The rule's name: it has no parameters."""
        return "leave-one-out"

    def training(self, domain: Domain) -> DomainTraining:
        """All but the last two events train, the last but one validates."""
        seen = domain.without_last(1)
        return _training(self, domain, domain.without_last(2), _held_out(seen, domain.tested, seen.offsets[1:] - 1))

    def test(self, domain: Domain) -> HeldOut:
        """The last event of each user, with everything before it as history."""
        return _held_out(domain.interactions, domain.tested, domain.interactions.offsets[1:] - 1)


@dataclass(frozen=True)
class SelectedOnTest:
    """Leave-one-out without a validation event: all but the last event train, and the last both validates and tests.

    Settings and checkpoints are then chosen by the reported events, so the figures are too good. Use it only to compare
    with work that was done so, such as WeaveRec's release (which trains on what is validation here, and keeps the
    checkpoint with the best test NDCG). The test events are those of leave-one-out.
    """

    @property
    def identity(self) -> str:
        """The rule's name: it has no parameters."""
        return "leave-one-out-selected-on-test"

    def training(self, domain: Domain) -> DomainTraining:
        """All but the last event train; the last one, the test event, validates."""
        return _training(self, domain, domain.without_last(1), self.test(domain))

    def test(self, domain: Domain) -> HeldOut:
        """The last event of each user, with everything before it as history."""
        return LeaveOneOut().test(domain)


@dataclass(frozen=True)
class Temporal:
    """One pair of instants for every domain of a scenario, so that no training event is later than a test event.

    Events before `validation_from` train; a user's first event in [validation_from, test_from) validates, and the
    first from `test_from` on is test; an event at exactly that instant belongs to the later part. A user without any
    event before the held-out one has no history to predict from and takes no part.

    Attributes:
        validation_from: Unix nanoseconds.
        test_from: Unix nanoseconds.
    """

    validation_from: int
    test_from: int

    @classmethod
    def of(cls, target: Domain, validation: float = 0.8, test: float = 0.9) -> Self:
        """The instants at two quantiles of the target's timestamps (each an instant at which something happened).

        Raises:
            HarnessError: the target has no timestamps, or too few instants for two cuts.
        """
        if not target.timed:
            raise HarnessError(
                f"Domain {target.name!r} has no timestamps: it cannot be split by time.",
                "Use leave-one-out, or a source with timestamps.",
            )
        times = target.interactions.timestamps
        first, second = (int(t) for t in np.quantile(times, [validation, test], method="inverted_cdf"))
        if not times.min() < first < second:
            raise HarnessError(
                f"Domain {target.name!r}: the {validation:.0%} and {test:.0%} quantiles of its timestamps are "
                f"{as_seconds(first)} and {as_seconds(second)}, which leaves a part empty.",
                "Use leave-one-out.",
            )
        return cls(first, second)

    @property
    def identity(self) -> str:
        """The rule's name and its instants, in Unix seconds."""
        return f"temporal/{as_seconds(self.validation_from)}/{as_seconds(self.test_from)}"

    def training(self, domain: Domain) -> DomainTraining:
        """The events before the first instant, and each user's first event between the two.

        Raises:
            HarnessError: the domain has no timestamps.
        """
        if not domain.timed:
            raise HarnessError(
                f"Domain {domain.name!r} has no timestamps: it cannot be split by time.",
                "Use leave-one-out, or a source with timestamps.",
            )
        events = domain.interactions
        early, seen = (events.where(events.timestamps < t) for t in (self.validation_from, self.test_from))
        users = np.flatnonzero((early.lengths > 0) & (seen.lengths > early.lengths))
        return _training(self, domain, early, _held_out(seen, users, seen.offsets[:-1] + early.lengths))

    def test(self, domain: Domain) -> HeldOut:
        """Each user's first event from the second instant on, with everything before it as history."""
        events = domain.interactions
        seen = events.where(events.timestamps < self.test_from)
        users = np.flatnonzero((seen.lengths > 0) & (events.lengths > seen.lengths))
        return _held_out(events, users, events.offsets[:-1] + seen.lengths)


SPLITS = ("leave-one-out", "temporal", "leave-one-out-selected-on-test")


def split_for(name: str, target: Domain) -> Split:
    """A split by name; the target's timestamps decide the instants of a temporal one.

    Raises:
        HarnessError: an unknown split, or a target that cannot be split by it.
    """
    if name not in SPLITS:
        raise HarnessError.unknown("split", name, SPLITS)
    if name == "temporal":
        return Temporal.of(target)
    return LeaveOneOut() if name == "leave-one-out" else SelectedOnTest()


def _training(split: Split, domain: Domain, train: Sequences, validation: HeldOut) -> DomainTraining:
    return DomainTraining(
        name=domain.name,
        catalogue=domain.catalogue,
        user_ids=domain.user_ids,
        train=train,
        validation=validation,
        fingerprint=domain.fingerprint,
        split=split.identity,
        timed=domain.timed,
    )


def _held_out(sequences: Sequences, users: Ints, events: Ints) -> HeldOut:
    """The event at flat position events[u] of each of some users, with the user's events before it.

    Args:
        sequences: all users.
        users: int64 [n], the users who take part.
        events: int64 [all users], flat positions; those of users who take no part are not read.
    """
    at = events[users]
    before = np.arange(len(sequences.items)) < np.repeat(events, sequences.lengths)
    targets, times = sequences.items[at], sequences.timestamps[at]
    for array in (targets, times):
        array.flags.writeable = False
    return HeldOut(Histories(users, sequences.where(before).select(users)), targets, times)
