"""Checks a file of scores against a scenario: its users, items and candidates."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data.domain import Ints
from harness.errors import HarnessError
from harness.evaluation.file_scores import GivenScores
from harness.protocol.history_mask import seen_pairs
from harness.protocol.metrics import Floats
from harness.protocol.split import DomainTraining, HeldOut
from harness.run.outside_file import ScoreRows


@dataclass(frozen=True)
class TestRows:
    """The rows of a file that belong to test users, with dense indices.

    Attributes:
        source: the rows as they were read.
        index: int64 [n_rows], index of each row in `source`.
        users: int64 [n_rows], position of the user among the test users.
        items: int64 [n_rows], dense item indices.
        scores: float64 [n_rows].
        other_users: users of the file without a test event, whose rows are left out.
    """

    __test__ = False  # not a test class, whatever pytest thinks of its name

    source: ScoreRows
    index: Ints
    users: Ints
    items: Ints
    scores: Floats
    other_users: int

    def scorer(self, test: HeldOut, target: DomainTraining, is_complete: bool) -> GivenScores:
        """A scorer that gives these scores."""
        users = test.histories.users[self.users]
        return GivenScores(
            users, self.items, self.scores, len(target.user_ids), len(target.catalogue), is_complete=is_complete
        )


@dataclass(frozen=True)
class Coverage:
    """How much of the candidates of `full` a file lists.

    Attributes:
        list_length: fewest candidates listed for a user, of those with a row; None if all candidates have scores.
        missing_users: test users without a row.
        history_items: rows of items in the user's own history, which are no candidates.
    """

    list_length: int | None
    missing_users: int
    history_items: int


def match(rows: ScoreRows, user_ids: list[str], test: HeldOut, target: DomainTraining) -> TestRows:
    """Find the users and items of a file's rows.

    Args:
        rows: of the file.
        user_ids: the ids in the data's files of the target's users, in the order of the dense index.
        test: the test events.
        target: its training data.

    Raises:
        HarnessError: an unknown user or item, an item or a rank that a user has twice, or no test user at all; the
            message names the file and the row.
    """
    users = rows.users.index({user: index for index, user in enumerate(user_ids)})
    if (users < 0).any():
        row = int((users < 0).argmax())
        hint = "Use the user ids of harness data export."
        raise rows.error(row, f"{rows.users[row][:60]!r} is no user of {target.name}.", hint)
    if rows.ranked:
        every = np.arange(len(users))
        _check_once(rows, every, users, rows.scores, lambda row: f"rank {-rows.scores[row]:.0f}")
    row_of = np.full(len(user_ids), -1)
    row_of[test.histories.users] = np.arange(len(test.targets))
    index, items = _titled_items(rows, target) if rows.titled else _items(rows, target)
    _check_once(rows, index, users[index], items, lambda row: f"{rows.items[row][:60]!r}")
    tested = row_of[users[index]] >= 0
    others = len(np.unique(users[row_of[users] < 0]))
    index, items = index[tested], items[tested]
    if not len(index):
        raise rows.error(0, "neither this nor another user of the file has a test event.", "See test_users.csv.")
    return TestRows(rows, index, row_of[users[index]], items, rows.scores[index], others)


def coverage(rows: TestRows, test: HeldOut, n_items: int) -> Coverage:
    """How much of the candidates of `full` some rows list.

    Args:
        rows: of the file.
        test: the test events.
        n_items: size of the catalogue.
    """
    n_users = len(test.targets)
    users, items = seen_pairs(test.histories.sequences, test.targets, n_items)
    is_history = np.isin(rows.users * n_items + rows.items, users * n_items + items)
    given = np.bincount(rows.users[~is_history], minlength=n_users)
    listed = np.bincount(rows.users[~is_history & (rows.scores > -np.inf)], minlength=n_users)
    present = np.bincount(rows.users, minlength=n_users) > 0
    short = present & (given < n_items - np.bincount(users, minlength=n_users))
    return Coverage(
        int(listed[short].min()) if short.any() else None, int((~present).sum()), int(np.count_nonzero(is_history))
    )


def check_not_only_drawn(rows: TestRows, name: str, candidates: Ints, n_items: int) -> None:
    """Refuse a file for `full` that holds nothing but drawn candidates, among which the held-out item always is.

    Args:
        rows: of the file, which does not list the whole catalogue.
        name: of the drawn candidate set.
        candidates: int64 [n_users, n_candidates].
        n_items: size of the catalogue.

    Raises:
        HarnessError: no row is of another item.
    """
    if _are_candidates(rows, candidates, n_items).all():
        raise HarnessError(
            f"{rows.source.path} lists candidates of {name} only, which always hold the test item: that says nothing "
            "about full.",
            f"Give a file with the best of the whole catalogue, and this one as --candidates {name}=FILE.",
        )


def check_drawn(rows: TestRows, name: str, candidates: Ints, n_items: int) -> None:
    """Check that a file for drawn candidates scores all of them and nothing else, for each user that it has.

    Args:
        rows: of the file.
        name: of the drawn candidate set.
        candidates: int64 [n_users, n_candidates].
        n_items: size of the catalogue.

    Raises:
        HarnessError: the first row of another item, or of a user without scores for all candidates.
    """
    wrong = ~_are_candidates(rows, candidates, n_items)
    if wrong.any():
        row = int(rows.index[wrong.argmax()])
        raise rows.source.error(
            row,
            f"{rows.source.items[row][:60]!r} is no candidate of user {rows.source.users[row][:60]!r} in {name}.",
            "Use the candidates of harness data export.",
        )
    counts, size = np.bincount(rows.users, minlength=len(candidates)), candidates.shape[1]
    short = (counts < size)[rows.users]
    if short.any():
        first = int(short.argmax())
        row = int(rows.index[first])
        raise rows.source.error(
            row,
            f"user {rows.source.users[row][:60]!r} has scores for {counts[rows.users[first]]} of the {size} candidates "
            f"in {name}.",
            "Score all of them.",
        )


def _are_candidates(rows: TestRows, candidates: Ints, n_items: int) -> NDArray[np.bool_]:
    keys = (np.arange(len(candidates))[:, None] * n_items + candidates).ravel()
    return np.isin(rows.users * n_items + rows.items, keys)


def _items(rows: ScoreRows, target: DomainTraining) -> tuple[Ints, Ints]:
    """The rows, and the item of each."""
    items = rows.items.index({item: index for index, item in enumerate(target.catalogue.item_ids)})
    _check_known(rows, items, target)
    return np.arange(len(items)), items


def _titled_items(rows: ScoreRows, target: DomainTraining) -> tuple[Ints, Ints]:
    """The rows, and the items of each: a title stands for all items that have it, which tie."""
    by_title: dict[str, list[int]] = {}
    for item, text in enumerate(target.catalogue.texts):
        by_title.setdefault(text, []).append(item)
    titles = {title: number for number, title in enumerate(by_title)}
    numbers = rows.items.index(titles)
    _check_known(rows, numbers, target)
    lengths = np.array([len(items) for items in by_title.values()])
    flat = np.concatenate([np.array(items) for items in by_title.values()])
    starts, counts = (np.cumsum(lengths) - lengths)[numbers], lengths[numbers]
    index = np.repeat(np.arange(len(numbers)), counts)
    within = np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)
    return index, flat[np.repeat(starts, counts) + within]


def _check_known(rows: ScoreRows, items: Ints, target: DomainTraining) -> None:
    if (items < 0).any():
        row = int((items < 0).argmax())
        kind = "title" if rows.titled else "item"
        hint = f"Use the {'texts' if rows.titled else 'item ids'} of harness data export."
        raise rows.error(row, f"{rows.items[row][:60]!r} is no {kind} of the catalogue of {target.name}.", hint)


def _check_once(rows: ScoreRows, index: Ints, users: Ints, values: Ints | Floats, label: Callable[[int], str]) -> None:
    """Refuse a value that a user has twice.

    Args:
        rows: of the file.
        index: int64 [n], the row of each user and value.
        users: int64 [n].
        values: int64 or float64 [n], such as items.
        label: the value of a row, in words.
    """
    order = np.lexsort((np.arange(len(users)), values, users))
    repeats = np.flatnonzero((np.diff(users[order]) == 0) & (np.diff(values[order]) == 0)) + 1
    if len(repeats):
        at = repeats[order[repeats].argmin()]
        row, before = int(index[order[at]]), int(index[order[at - 1]])
        raise rows.error(
            row,
            f"user {rows.users[row][:60]!r} has {label(row)} already in row {rows.rows[before]:,}.",
            "Leave one out.",
        )
