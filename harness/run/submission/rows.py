"""Checks of a submitted result, row by row: its users, ranks and lists against each other and against the data."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.data.domain import Ints
from harness.errors import HarnessError
from harness.protocol.ranks import MISSED, Ranks
from harness.protocol.recommendations import LIST_LENGTH
from harness.results.files import items_path, lists_path, ranks_path, users_path
from harness.results.ranks_table import RankTable
from harness.results.record import RunResult
from harness.results.users import CatalogueItems, TestUsers
from harness.run.outside_file import row_error
from harness.run.submission.expected import ExpectedScenario

_AGAIN = "Run or score the scenario again with the suite's data, and pack again."
#: Share of users whose ranks among drawn candidates may contradict those among all: near ties may round either way.
_ROUNDED = 0.01


def check_users(path: Path, users: TestUsers, expected: TestUsers) -> None:
    """Check that the rows are of the scenario's test users, in its order, with the right held-out items.

    Raises:
        HarnessError: the first row that is not.
    """
    shared = users_path(path)
    for row, (user, held_out) in enumerate(zip(users.user_ids, users.item_ids, strict=True), 1):
        if row > len(expected):
            raise row_error(shared, row, f"{user[:60]!r} is no test user: there are {len(expected):,}.", _AGAIN)
        if user != expected.user_ids[row - 1]:
            what = f"user {user[:60]!r}, where the scenario has {expected.user_ids[row - 1]!r}."
            raise row_error(shared, row, what, _AGAIN)
        if held_out != expected.item_ids[row - 1]:
            raise row_error(
                shared,
                row,
                f"held-out item {held_out[:60]!r} of user {user!r}, where the scenario has "
                f"{expected.item_ids[row - 1]!r}.",
                _AGAIN,
            )
    if len(users) < len(expected):
        row = len(users)
        raise row_error(shared, row, f"the last row, but the scenario has {len(expected):,} test users.", _AGAIN)


def check_items(path: Path, items: CatalogueItems, expected: CatalogueItems) -> None:
    """Check that the lists are of the scenario's catalogue.

    Raises:
        HarnessError: the first row of another item, or with another number of training interactions.
    """
    shared = items_path(path)
    counts = zip(items.training_interactions.tolist(), expected.training_interactions.tolist(), strict=False)
    for row, (item, right, (count, right_count)) in enumerate(
        zip(items.item_ids, expected.item_ids, counts, strict=False), 1
    ):
        if (item, count) != (right, right_count):
            what = f"item {item[:60]!r} with {count:,} training interactions, where the scenario has {right!r}"
            raise row_error(shared, row, f"{what} with {right_count:,}.", _AGAIN)
    if len(items) != len(expected):
        what = f"the catalogue ends, or has more: {len(items):,} items, where the scenario has {len(expected):,}."
        raise row_error(shared, min(len(items), len(expected)) + 1, what, _AGAIN)


def check_ranks(path: Path, result: RunResult, table: RankTable) -> None:
    """Check what ranks among several candidate sets must have in common.

    Raises:
        HarnessError: the first row that cannot be.
    """
    for name, ranks in table.ranks.items():
        if ranks.unscored is not None:
            wrong = ranks.unscored & (ranks.above != MISSED)
            _refuse(path, wrong, f"{name}: unscored, but with a rank.")
        if ranks.chance is not None:
            wrong = (ranks.chance < 1) & ((ranks.above == MISSED) | (not name.startswith("retrieved-")))
            _refuse(path, wrong, f"{name}: a chance below 1, where nothing is drawn by lot.")
        recorded = result.candidates[name].unscored
        if recorded is not None and recorded != (0 if ranks.unscored is None else int(ranks.unscored.sum())):
            raise HarnessError(f"{path}: candidates.{name}.unscored is not what the ranks give.", _AGAIN)
    full = table.ranks["full"]
    for name in set(table.ranks) - {"full"} if result.outside is None else ():
        part = table.ranks[name]
        if not name.startswith("sampled-"):
            continue
        # Drawn candidates are some of those of `full`, with the same scores.
        wrong = (part.above != MISSED) & ((part.above > full.above) | (_last(part) > _last(full)))
        if wrong.sum() > max(1, int(_ROUNDED * len(wrong))):
            _refuse(path, wrong, f"{name}: more items above than among all of full.")


def check_lists(path: Path, table: RankTable, lists: Ints, expected: TestUsers, items: CatalogueItems) -> None:
    """Check that the lists and the ranks among `full` tell the same of the held-out items.

    Args:
        path: of the result.
        table: its ranks.
        lists: int64 [n_users, LIST_LENGTH], -1 after the last item.
        expected: the users and held-out items of the rows.
        items: the catalogue.

    Raises:
        HarnessError: the first row with an item twice, or whose held-out item stands elsewhere than its rank says.
    """
    lists_file, full = lists_path(path), table.ranks["full"]
    by_item = np.sort(lists, axis=1)
    twice = ((np.diff(by_item, axis=1) == 0) & (by_item[:, 1:] >= 0)).any(axis=1)
    _refuse(lists_file, twice, "an item stands in the list twice.")
    held_out = np.array([items.index.get(item, -2) for item in expected.item_ids])
    places = lists == held_out[:, None]
    listed, place = places.any(axis=1), places.argmax(axis=1)
    lengths = (lists >= 0).sum(axis=1)
    # The held-out item takes one of the places above ... above + tied, counted from 0.
    fits = (full.above != MISSED) & (full.above <= place) & (place <= _last(full))
    absent = (full.above == MISSED) | ((lengths == LIST_LENGTH) & (_last(full) >= LIST_LENGTH))

    def told(row: int) -> str:
        where = f"in place {place[row] + 1}" if listed[row] else "not in the list"
        above, tied = full.above[row], full.tied[row]
        rank = "a miss" if above == MISSED else f"rank {above + 1}" + f" to {above + tied + 1}" * bool(tied)
        return f"the held-out item is {where}, but {ranks_path(path).name} has {rank}."

    _refuse(lists_file, np.where(listed, ~fits, ~absent), told)


def check_counts(path: Path, table: RankTable, lists: Ints | None, expected: ExpectedScenario) -> None:
    """Check slices, numbers of candidates and listed items against the data.

    Raises:
        HarnessError: the first row that differs.
    """
    ranks_file = ranks_path(path)
    for name, members in expected.slices.items():
        if name not in table.slices:
            raise HarnessError(f"{ranks_file}: column 'slice/{name}' is missing.", _AGAIN)
        wrong = table.slices[name] != members
        _refuse(ranks_file, wrong, f"slice/{name} is not what the data give.")
    for name in set(table.slices) - set(expected.slices):
        raise HarnessError(f"{ranks_file}: column 'slice/{name}' is of no slice of the harness.", _AGAIN)
    for name, counts in expected.n_candidates.items():
        if name in table.ranks:
            given = table.ranks[name].candidates
            _refuse(ranks_file, given != counts, partial(_other_number, name, given, counts))
    if lists is not None:
        keys = np.arange(len(lists))[:, None] * len(expected.items) + lists
        seen = np.asarray((np.isin(keys, expected.history) & (lists >= 0)).any(axis=1))
        _refuse(lists_path(path), seen, "the list holds an item of the user's history.")


def _other_number(name: str, given: Ints, expected: Ints, row: int) -> str:
    return f"{given[row]:,} candidates of {name}, where the data give {expected[row]:,}."


def _last(ranks: Ranks) -> Ints:
    """The last place that the held-out item may take, counted from 0: int64 [n_users]."""
    return ranks.above + ranks.tied


def _refuse(path: Path, wrong: NDArray[np.bool_], what: str | Callable[[int], str]) -> None:
    """Raise an error about the first row that is wrong, if any is."""
    if wrong.any():
        row = int(wrong.argmax())
        raise row_error(path, row + 1, what if isinstance(what, str) else what(row), _AGAIN)
