"""Time leakage of a split: training events that are later than test events."""

from dataclasses import dataclass

import numpy as np

from harness.data.domain import Ints
from harness.protocol.split import DomainTraining, HeldOut, TrainingData


@dataclass(frozen=True)
class Leakage:
    """Training data that are later than test events.

    Attributes:
        later: by domain, training and validation events that are later than some test event of the target.
        exposed_users: share of test users for whom the training data hold an event, of any person in any domain, that
            is later than their test event.
        exposed_by_own: the same share, counting only events of the same person; where domains share users, a source
            may show what a user did after the test.
    """

    later: dict[str, int]
    exposed_users: float
    exposed_by_own: float


def audit(training: TrainingData, test: HeldOut) -> Leakage | None:
    """Audits a scenario; None if some domain has no timestamps.

    Args:
        training: the training data; user ids must be equal only for equal persons.
        test: the target's test events.
    """
    if not all(domain.timed for domain in training.domains.values()):
        return None
    times = {name: _times(domain) for name, domain in training.domains.items()}
    if not len(test.times):
        return Leakage(dict.fromkeys(times, 0), 0.0, 0.0)
    latest = max((int(t.max()) for t in times.values() if len(t)), default=-1)
    latest_own = np.full(len(test.times), -1)
    target_ids = training.target_domain.user_ids
    row = {target_ids[user]: index for index, user in enumerate(test.histories.users)}
    for domain in training.domains.values():
        for user, time in enumerate(_latest_by_user(domain)):
            index = row.get(domain.user_ids[user])
            if index is not None:
                latest_own[index] = max(latest_own[index], time)
    return Leakage(
        later={name: int((t > test.times.min()).sum()) for name, t in times.items()},
        exposed_users=float((test.times < latest).mean()),
        exposed_by_own=float((test.times < latest_own).mean()),
    )


def _times(domain: DomainTraining) -> Ints:
    return np.concatenate([domain.train.timestamps, domain.validation.times])


def _latest_by_user(domain: DomainTraining) -> Ints:
    """Time of each user's latest training or validation event: int64 [n_users]; -1 where there is none."""
    latest = np.full(len(domain.user_ids), -1, dtype=np.int64)
    np.maximum.at(latest, domain.train.users, domain.train.timestamps)
    np.maximum.at(latest, domain.validation.histories.users, domain.validation.times)
    return latest
