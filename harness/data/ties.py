"""Order a user's events with equal timestamps (ties), and audit that order.

Published files are often sorted by item within a day. Keeping the order of such a file turns consecutive ids into a
sequential pattern, and decides for many users which item is the test item.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal

import numpy as np

from harness.data.domain import Domain, Ints

#: `hashed`: by a keyed hash of the event. `file`: in the order of the file, for logs whose lines are in true order.
TieRule = Literal["hashed", "file"]

#: A share is far from chance if it differs by more than this, and by more than this many standard errors.
_MIN_DIFFERENCE, _STANDARD_ERRORS = 0.05, 4


@dataclass(frozen=True)
class TieOrder:
    """How events of one user with equal timestamps are ordered.

    Attributes:
        rule: see `TieRule`.
        seed: key of the hash; each seed gives another random order.
    """

    rule: TieRule = "hashed"
    seed: int = 0

    def __str__(self) -> str:
        return "file" if self.rule == "file" else f"hashed, seed {self.seed}"


#: The default order.
HASHED = TieOrder()


def tie_key(seed: int, user_id: str, item_id: str, occurrence: int) -> str:
    """Sort key of a tied event: the first 16 hex digits of SHA-256, the same on every machine.

    It depends on the event alone: not on its row in the file, nor on how its ids compare with others. The ids' lengths
    (in bytes) are hashed too, so that no two events share a message.

    Args:
        seed: key of the hash.
        user_id, item_id: original ids.
        occurrence: number of this event among the user's events with this item, from 1.
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
    """How often the later of two consecutive events of a user has the greater value: half the time by chance.

    Attributes:
        share: of the pairs; None if there are no pairs.
        pairs: number of consecutive events with different values.
    """

    share: float | None
    pairs: int

    @property
    def is_significant(self) -> bool:
        """Whether the share is far from chance.

        The standard error is that of independent pairs, which is larger than that of a random order.
        """
        return self.share is not None and _is_far(self.share, 0.5, (0.25 / self.pairs) ** 0.5)


@dataclass(frozen=True)
class Neighbours:
    """How often values increase from one event of a user to the next.

    Attributes:
        ids: item ids, compared as text.
        numbers: item ids, compared as integers; None unless all are integers.
        places: rows in the file; None if unknown.
    """

    ids: Rising
    numbers: Rising | None = None
    places: Rising | None = None

    def of(self, kind: str) -> Rising | None:
        """The values by kind: ids as `text` or as `numbers`, or `places`; None if unknown."""
        return {"text": self.ids, "numbers": self.numbers, "places": self.places}[kind]

    @property
    def furthest_from_chance(self) -> tuple[str, Rising]:
        """Ids as `text` or as `numbers`, whichever is further from chance, with its kind."""
        if self.numbers is None or _distance(self.numbers) <= _distance(self.ids):
            return "text", self.ids
        return "numbers", self.numbers


@dataclass(frozen=True)
class Extremes:
    """Share of users whose last item has the largest, or the smallest, id of all their items.

    Attributes:
        largest: share of users, between 0 and 1, whose last item has the largest id.
        smallest: share of users, between 0 and 1, whose last item has the smallest id.
    """

    largest: float
    smallest: float


@dataclass(frozen=True)
class TieAudit:
    """An audit of the order of a domain's events. Shares are between 0 and 1; None of zero events or users.

    Attributes:
        order: how ties are ordered; None without timestamps.
        events: number of events.
        tied: share of events with the timestamp of another event of their user.
        tied_with_previous: share of events with the timestamp of the user's previous event, without first events.
        users: number of users with at least three events, for whom leave-one-out holds events out.
        validation_tied, test_tied: share of these users whose validation or test event is tied with another event, so
            that the order of ties selects it.
        within: consecutive events within ties, in the domain's order; None without timestamps.
        outside: consecutive events that are not tied; all of them without timestamps.
        file_within: consecutive events within ties, in the order of the file; None if unknown.
        last_ids, last_numbers: without timestamps, how often the last item has an extreme id, compared as text and, if
            all ids are integers, as integers.
        last_chance: the share expected by chance for either extreme: the mean of 1 / (a user's distinct items).
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
        """Whether ids are compared as `text` or as `numbers`: whichever is further from chance."""
        return (self.file_within or self.within or self.outside).furthest_from_chance[0]

    def warnings(self) -> list[str]:
        """One sentence for each way in which the order of events is far from chance."""
        return self._tie_warnings() if self.order is not None else self._sequence_warnings()

    def _tie_warnings(self) -> list[str]:
        if self.within is not None and self.within.furthest_from_chance[1].is_significant:
            return [
                f"within ties, {_rise(self.within)}: the order of ties is the file's, and decides the test event of "
                f"{percent(self.test_tied)} of users. Say ties: hashed, unless the lines are in true order."
            ]
        file_within = self.file_within
        if self.within is not None and file_within is not None and file_within.furthest_from_chance[1].is_significant:
            rising = self.within.of(self.id_kind)
            return [
                f"within ties of the file, {_rise(file_within)}: its lines are in no random order there. Here "
                f"ties are {self.order}: {percent(rising.share if rising else None)}."
            ]
        return []

    def _sequence_warnings(self) -> list[str]:
        lines = []
        if self.outside.furthest_from_chance[1].is_significant:
            lines.append(f"there are no timestamps, and {_rise(self.outside)}.")
        chance = self.last_chance or 0.0
        for kind, last in (("text", self.last_ids), ("numbers", self.last_numbers)):
            error = (chance * (1 - chance) / max(self.users, 1)) ** 0.5
            if last and (_is_far(last.largest, chance, error) or _is_far(last.smallest, chance, error)):
                lines.append(
                    f"the test item has the largest id of its user for {percent(last.largest)} of users and the "
                    f"smallest for {percent(last.smallest)} (as {kind}; {percent(chance)} by chance). Sequences that "
                    "were sorted by item within a day look so; so do ids that rise with time."
                )
        return lines


def _rise(neighbours: Neighbours) -> str:
    kind, rising = neighbours.furthest_from_chance
    return f"item ids rise in {percent(rising.share)} of {rising.pairs:,} neighbours (as {kind}; 50 % by chance)"


def tie_audit(domain: Domain, ties: TieOrder = HASHED) -> TieAudit:
    """Audit a prepared domain. The order of its file is known only while it is being prepared.

    Args:
        domain: the domain.
        ties: how its ties were ordered, if it has timestamps.
    """
    events = domain.interactions
    ids = ItemOrder.of(domain.catalogue.item_ids)
    counts = count_order(events.users, events.items, events.timestamps, ids, domain.timed)
    return audit_of_counts([counts], [counts] * (ties.rule == "file"), ids, domain.timed, ties)


@dataclass(frozen=True)
class ItemOrder:
    """How item ids compare.

    Attributes:
        text: int64 [n_items], rank of each id by its UTF-8 bytes.
        numbers: int64 [n_items], each id as an integer; None unless all are integers.
    """

    text: Ints
    numbers: Ints | None

    @classmethod
    def of(cls, item_ids: Sequence[str]) -> "ItemOrder":
        """The order of the given ids."""
        text = np.empty(len(item_ids), dtype=np.int64)
        text[sorted(range(len(item_ids)), key=item_ids.__getitem__)] = np.arange(len(item_ids))
        integers = all(item.isascii() and item.isdecimal() and len(item) <= 18 for item in item_ids)
        return cls(text, np.array(list(map(int, item_ids)), dtype=np.int64) if integers else None)


#: The sums behind an audit, by name.
Counts = dict[str, float]


def count_order(
    users: Ints, items: Ints, times: Ints, ids: ItemOrder, timed: bool, places: Ints | None = None
) -> Counts:
    """Compute the sums behind an audit; those of disjoint sets of users add up.

    Args:
        users: int64 [n], all events of some users, grouped by user.
        items: int64 [n], dense item indices, oldest first within a user.
        times: int64 [n], timestamps.
        ids: how item ids compare.
        timed: whether timestamps are instants.
        places: int64 [n], rows in the file, if known.
    """
    same_user = users[1:] == users[:-1]
    tied = same_user & (times[1:] == times[:-1]) & timed
    with_previous, with_next = np.append(False, tied), np.append(tied, False)
    starts = np.flatnonzero(np.append(True, ~same_user))
    lengths = np.diff(np.append(starts, len(users)))
    starts, lengths = starts[lengths >= 3], lengths[lengths >= 3]
    test, in_tie = starts + lengths - 1, with_previous | with_next
    counts: Counts = {
        "events": len(users),
        "tied": in_tie.sum(),
        "neighbours": same_user.sum(),
        "tied with previous": with_previous.sum(),
        "users": len(test),
        "validation tied": in_tie[test - 1].sum(),
        "test tied": in_tie[test].sum(),
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
    """Number of users whose last item has the largest or the smallest id, and the number expected by chance."""
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


def audit_of_counts(
    counts: Iterable[Counts], file_counts: Iterable[Counts], ids: ItemOrder, timed: bool, ties: TieOrder
) -> TieAudit:
    """The audit of a domain from the counts of its users.

    Args:
        counts: of events in the domain's order.
        file_counts: of tied events in the file's order; empty if it is unknown.
        ids: how item ids compare.
        timed: whether timestamps are instants.
        ties: how ties are ordered.
    """
    total, file_total = _sum(counts), _sum(file_counts)

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
    return abs(share - chance) > max(_MIN_DIFFERENCE, _STANDARD_ERRORS * standard_error)


def percent(share: float | None) -> str:
    """A share in percent; a dash if there is none."""
    return "–" if share is None else f"{share:.1%}"
