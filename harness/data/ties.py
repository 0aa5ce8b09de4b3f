"""The order of events of one user at one instant, and an audit of it.

Files of the field are often sorted by item within a day. An order that follows the file then makes consecutive ids a
sequential pattern, and decides for many users which item is predicted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal

import numpy as np

from harness.data.domain import Domain, Ints

#: `hashed`: by a keyed hash of the event. `file`: as the file has them, for logs whose lines are in true order.
TieRule = Literal["hashed", "file"]

#: A share is far from what chance gives if it differs by more than this, and by more standard errors than these.
_FAR, _STANDARD_ERRORS = 0.05, 4


@dataclass(frozen=True)
class TieOrder:
    """How events of one user with equal timestamps are ordered.

    Attributes:
        rule: see `TieRule`.
        seed: key of the hash; another seed is another order, as good as any.
    """

    rule: TieRule = "hashed"
    seed: int = 0

    def __str__(self) -> str:
        return "file" if self.rule == "file" else f"hashed, seed {self.seed}"


#: The order that holds unless another is named.
HASHED = TieOrder()


def tie_key(seed: int, user_id: str, item_id: str, occurrence: int) -> str:
    """What a tied event is sorted by: the first 16 hex digits of SHA-256, the same on every machine.

    It depends on nothing but the event: not on its place in the file, nor on how its ids compare with others.
    Lengths (in bytes) stand before the ids, so that no two events share a message.

    Args:
        seed: the key.
        user_id, item_id: original ids.
        occurrence: how many-th time this user had this item, from 1.
    """
    user, item = user_id.encode(), item_id.encode()
    message = b"%d:%d:%b:%d:%b:%d" % (seed, len(user), user, len(item), item, occurrence)
    return sha256(message).hexdigest()[:16]


#: `tie_key` in SQL over columns user_id, item_id and occurrence, with $seed.
TIE_KEY_SQL = (
    "left(sha256($seed || ':' || strlen(user_id) || ':' || user_id || ':' || strlen(item_id) || ':' || item_id "
    "|| ':' || occurrence), 16)"
)


@dataclass(frozen=True)
class Rising:
    """How often the later of two neighbouring events of a user has the greater value: half the time by chance.

    Attributes:
        share: of the pairs; None where there are none.
        pairs: neighbours with different values.
    """

    share: float | None
    pairs: int

    @property
    def far(self) -> bool:
        """Whether chance would hardly give this. The standard error is that of independent pairs, which is more than
        neighbours in a random order have."""
        return self.share is not None and _is_far(self.share, 0.5, (0.25 / self.pairs) ** 0.5)


@dataclass(frozen=True)
class Neighbours:
    """What rises from an event of a user to the next.

    Attributes:
        ids: item ids by their text.
        numbers: item ids as integers; None where not all are.
        places: places in the file; None where they are not known.
    """

    ids: Rising
    numbers: Rising | None = None
    places: Rising | None = None

    def of(self, kind: str) -> Rising | None:
        """Ids as `text` or as `numbers`, or `places`; None where it is not known."""
        return {"text": self.ids, "numbers": self.numbers, "places": self.places}[kind]

    @property
    def telling(self) -> tuple[str, Rising]:
        """Ids as text or as numbers, whichever is further from chance, and which it is."""
        if self.numbers is None or _distance(self.numbers) <= _distance(self.ids):
            return "text", self.ids
        return "numbers", self.numbers


@dataclass(frozen=True)
class Extremes:
    """How often a user's last item has the largest, or the smallest, id of all the user's items."""

    largest: float
    smallest: float


@dataclass(frozen=True)
class TieAudit:
    """What is behind the order of a domain's events. Shares are of 1; None where there is nothing to take them of.

    Attributes:
        order: how ties are ordered; None where there are no timestamps.
        events: how many.
        tied: share of events that have the timestamp of another event of their user.
        tied_with_previous: share of events, users' first aside, that have the timestamp of the one before.
        users: those with at least three events, of whom leave-one-out holds events out.
        validation_tied, test_tied: share of these users whose validation or test event is tied with another: the order
            of ties decided that it is this one.
        within: neighbours within ties, in the domain's order; None where there are no timestamps.
        outside: neighbours that are not tied; all of them where there are no timestamps.
        file_within: neighbours within ties, in the order of the file; None where it is not known.
        last_ids, last_numbers: where there are no timestamps, whose id the users' last items have, by text and, if all
            ids are integers, as such.
        last_chance: what chance gives for either extreme: the mean of 1 / (a user's distinct items).
    """

    order: str | None
    events: int
    tied: float | None
    tied_with_previous: float | None
    users: int
    validation_tied: float | None
    test_tied: float | None
    within: Neighbours | None
    outside: Neighbours
    file_within: Neighbours | None = None
    last_ids: Extremes | None = None
    last_numbers: Extremes | None = None
    last_chance: float | None = None

    @property
    def id_kind(self) -> str:
        """Whether ids are compared as `text` or as `numbers`: what is further from chance."""
        return (self.file_within or self.within or self.outside).telling[0]

    def warnings(self) -> list[str]:
        """What a reader of a figure must know: one sentence each, none where all is as chance has it."""
        return self._of_ties() if self.order is not None else self._of_sequences()

    def _of_ties(self) -> list[str]:
        if self.within is not None and self.within.telling[1].far:
            return [
                f"within ties, {_rise(self.within)}: the order of ties is the file's, and decides the test event of "
                f"{_percent(self.test_tied)} of users. Say ties: hashed, unless the lines are in true order."
            ]
        if self.within is not None and self.file_within is not None and self.file_within.telling[1].far:
            here = self.within.of(self.id_kind)
            return [
                f"within ties of the file, {_rise(self.file_within)}: its lines are in no random order there. Here "
                f"ties are {self.order}: {_percent(here.share if here else None)}."
            ]
        return []

    def _of_sequences(self) -> list[str]:
        lines = []
        if self.outside.telling[1].far:
            lines.append(f"there are no timestamps, and {_rise(self.outside)}.")
        chance = self.last_chance or 0.0
        for kind, last in (("text", self.last_ids), ("numbers", self.last_numbers)):
            error = (chance * (1 - chance) / max(self.users, 1)) ** 0.5
            if last and (_is_far(last.largest, chance, error) or _is_far(last.smallest, chance, error)):
                lines.append(
                    f"the test item has the largest id of its user for {_percent(last.largest)} of users and the "
                    f"smallest for {_percent(last.smallest)} (as {kind}; {_percent(chance)} by chance). Sequences that "
                    "were sorted by item within a day look so; so do ids that rise with time."
                )
        return lines


def _rise(neighbours: Neighbours) -> str:
    kind, rising = neighbours.telling
    return f"item ids rise in {_percent(rising.share)} of {rising.pairs:,} neighbours (as {kind}; 50 % by chance)"


def tie_audit(domain: Domain, ties: TieOrder = HASHED) -> TieAudit:
    """Audits a prepared domain. What its file looks like is known only while it is prepared.

    Args:
        domain: the domain.
        ties: how its ties were ordered, where it has timestamps.
    """
    events = domain.interactions
    ids = ItemOrder.of(domain.catalogue.item_ids)
    counts = count(events.users, events.items, events.timestamps, ids, domain.timed)
    return audit_of([counts], [counts] * (ties.rule == "file"), ids, domain.timed, ties)


@dataclass(frozen=True)
class ItemOrder:
    """How item ids compare.

    Attributes:
        text: int64 [n_items], rank of each id among all by its UTF-8 bytes.
        numbers: int64 [n_items], each id as an integer; None where not all are.
    """

    text: Ints
    numbers: Ints | None

    @classmethod
    def of(cls, item_ids: Sequence[str]) -> "ItemOrder":
        """The order of some ids."""
        text = np.empty(len(item_ids), dtype=np.int64)
        text[sorted(range(len(item_ids)), key=item_ids.__getitem__)] = np.arange(len(item_ids))
        whole = all(item.isascii() and item.isdecimal() and len(item) <= 18 for item in item_ids)
        return cls(text, np.array(list(map(int, item_ids)), dtype=np.int64) if whole else None)


#: Sums that an audit is made of, by name.
Counts = dict[str, float]


def count(users: Ints, items: Ints, times: Ints, ids: ItemOrder, timed: bool, places: Ints | None = None) -> Counts:
    """Counts what an audit is made of; counts of some users and of others add up.

    Args:
        users: int64 [n], all events of some users, one user after the other.
        items: int64 [n], dense item indices, oldest first within a user.
        times: int64 [n], timestamps.
        ids: how item ids compare.
        timed: whether timestamps are instants.
        places: int64 [n], places in the file, if known.
    """
    same_user = users[1:] == users[:-1]
    tied = same_user & (times[1:] == times[:-1]) & timed
    with_previous, with_next = np.append(False, tied), np.append(tied, False)
    starts = np.flatnonzero(np.append(True, ~same_user))
    lengths = np.diff(np.append(starts, len(users)))
    starts, lengths = starts[lengths >= 3], lengths[lengths >= 3]
    test, decided = starts + lengths - 1, with_previous | with_next
    counts: Counts = {
        "events": len(users),
        "tied": decided.sum(),
        "neighbours": same_user.sum(),
        "tied with previous": with_previous.sum(),
        "users": len(test),
        "validation tied": decided[test - 1].sum(),
        "test tied": decided[test].sum(),
    }
    values = {"ids": ids.text[items], "numbers": None if ids.numbers is None else ids.numbers[items], "places": places}
    known = {name: compared for name, compared in values.items() if compared is not None}
    for name, compared in known.items():
        steps = np.sign(np.diff(compared))
        for where, neighbours in (("within", tied), ("outside", same_user & ~tied)):
            counts[f"{where} {name} pairs"] = (steps[neighbours] != 0).sum()
            counts[f"{where} {name} rising"] = (steps[neighbours] > 0).sum()
    if not timed and len(test):
        counts |= _extremes(known, users, items, starts, lengths)
    return {name: float(total) for name, total in counts.items()}


def _extremes(known: dict[str, Ints], users: Ints, items: Ints, starts: Ints, lengths: Ints) -> Counts:
    """For how many of some users the last item has the largest or smallest id, and for how many by chance."""
    segments = np.append(0, np.cumsum(lengths)[:-1])
    rows = np.repeat(starts - segments, lengths) + np.arange(lengths.sum())
    counts: Counts = {}
    for name, compared in known.items():
        last = compared[starts + lengths - 1]
        counts[f"largest {name}"] = (last == np.maximum.reduceat(compared[rows], segments)).sum()
        counts[f"smallest {name}"] = (last == np.minimum.reduceat(compared[rows], segments)).sum()
    pairs = np.unique(np.stack([users[rows], items[rows]]), axis=1)
    distinct = np.unique(pairs[0], return_counts=True)[1]
    return counts | {"extreme by chance": (1 / distinct).sum()}


def audit_of(
    parts: Iterable[Counts], in_file: Iterable[Counts], ids: ItemOrder, timed: bool, ties: TieOrder
) -> TieAudit:
    """The audit of a domain from the counts of its users.

    Args:
        parts: counts in the domain's order.
        in_file: counts of tied events in the file's order; none where it is not known.
        ids: how item ids compare.
        timed: whether timestamps are instants.
        ties: how ties are ordered.
    """
    total, file_total = _sum(parts), _sum(in_file)

    def share(name: str, of: str) -> float | None:
        return total[name] / total[of] if total.get(of) else None

    def extremes(name: str) -> Extremes | None:
        largest, smallest = share(f"largest {name}", "users"), share(f"smallest {name}", "users")
        return None if largest is None or smallest is None else Extremes(largest, smallest)

    audit = TieAudit(
        order=str(ties) if timed else None,
        events=int(total.get("events", 0)),
        tied=share("tied", "events") if timed else None,
        tied_with_previous=share("tied with previous", "neighbours") if timed else None,
        users=int(total.get("users", 0)),
        validation_tied=share("validation tied", "users") if timed else None,
        test_tied=share("test tied", "users") if timed else None,
        within=_neighbours(total, "within") if timed else None,
        outside=_neighbours(total, "outside"),
        file_within=_neighbours(file_total, "within") if timed and file_total else None,
    )
    if timed:
        return audit
    numbers = None if ids.numbers is None else extremes("numbers")
    return replace(
        audit, last_ids=extremes("ids"), last_numbers=numbers, last_chance=share("extreme by chance", "users")
    )


def _sum(parts: Iterable[Counts]) -> Counts:
    total: Counts = {}
    for part in parts:
        for name, value in part.items():
            total[name] = total.get(name, 0) + value
    return total


def _neighbours(counts: Counts, where: str) -> Neighbours:
    rising: list[Rising | None] = []
    for name in ("ids", "numbers", "places"):
        pairs = counts.get(f"{where} {name} pairs")
        if pairs is None:
            rising.append(None)
        else:
            rising.append(Rising(counts[f"{where} {name} rising"] / pairs if pairs else None, int(pairs)))
    ids, numbers, places = rising
    return Neighbours(ids or Rising(None, 0), numbers, places)


def _distance(rising: Rising) -> float:
    return abs((0.5 if rising.share is None else rising.share) - 0.5)


def _is_far(share: float, chance: float, standard_error: float) -> bool:
    return abs(share - chance) > max(_FAR, _STANDARD_ERRORS * standard_error)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
