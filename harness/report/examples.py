"""Single users of a comparison: those that a side wins by most, loses by most, and that both find hardest."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from harness.errors import HarnessError
from harness.protocol.metrics import Floats
from harness.protocol.ranks import MISSED, Ranks
from harness.report.collect import Entry
from harness.report.pair import PairComparison, user_values
from harness.results.files import items_path, read_recommendations, read_record, users_path
from harness.results.users import CatalogueItems, TestUsers
from harness.suites import shipped_suite

Kind = Literal["won", "lost", "hardest"]

#: Items of a history and of a list that are shown.
SHOWN = 10


@dataclass(frozen=True)
class Texts:
    """Titles and histories of a scenario.

    Attributes:
        titles: by item id of the target.
        histories: items of the target before the held-out event, oldest first, by user id.
    """

    titles: Mapping[str, str]
    histories: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Example:
    """A user of a comparison.

    Attributes:
        kind: why the user was chosen.
        scenario: its name.
        user: user id.
        held_out: id of the held-out item.
        difference: what the first side has more in the metric, mean over seeds.
        seeds: of the ranks, of each side.
        ranks: of the held-out item among the candidates, one for each seed, of each side.
        history: ids of the last items before the held-out one, oldest first; None if unknown.
        history_length: number of items in the whole history; None if unknown.
        lists: recommended item ids, best first, with the first of the seeds, of each side; None if unknown.
        titles: by item id, of all the items above that have one.
    """

    kind: Kind
    scenario: str
    user: str
    held_out: str
    difference: float
    seeds: tuple[tuple[int, ...], tuple[int, ...]]
    ranks: tuple[tuple[str, ...], tuple[str, ...]]
    history: tuple[str, ...] | None
    history_length: int | None
    lists: tuple[tuple[str, ...] | None, tuple[str, ...] | None]
    titles: Mapping[str, str]

    def title(self, item: str) -> str:
        """The title of an item, or its id."""
        return self.titles.get(item) or item


@dataclass(frozen=True)
class Chosen:
    """A user who was chosen, by row of the scenario's tables."""

    kind: Kind
    scenario: str
    row: int
    difference: float


def choose_users(pair: PairComparison, n: int) -> list[Chosen]:
    """Users of all scenarios of a comparison, `n` of each kind or fewer.

    Won and lost: by the difference in the metric, mean over seeds; then by the difference in reciprocal rank. Hardest:
    by the rank on the side where it is better. Who has the same held-out item in several scenarios is taken once.
    """
    rows = [row for scenario in pair.sides.scenarios for row in _candidates(pair, scenario)]
    orders: dict[Kind, list[_Row]] = {
        "won": sorted((row for row in rows if row.gain > 0), key=lambda row: (-row.gain, -row.gap, row.place)),
        "lost": sorted((row for row in rows if row.gain < 0), key=lambda row: (row.gain, row.gap, row.place)),
        "hardest": sorted(rows, key=lambda row: (-row.best, row.place)),
    }
    return [
        Chosen(kind, row.place[0], row.index, row.gain) for kind, ordered in orders.items() for row in _once(ordered, n)
    ]


@dataclass(frozen=True)
class _Row:
    """A user of a scenario with what decides the order; `place` breaks ties."""

    place: tuple[str, str]
    item: str
    index: int
    gain: float
    gap: float
    best: float


def _candidates(pair: PairComparison, scenario: str) -> Iterable[_Row]:
    values = user_values(pair.sides, scenario, pair.candidates, pair.metric)
    if values is None:
        return
    a, b = (_mean_ranks(side.entries[scenario], pair.candidates) for side in (pair.sides.a, pair.sides.b))
    gains, gaps, best = np.round(values[0] - values[1], 12), 1 / a - 1 / b, np.minimum(a, b)
    users = pair.sides.a.entries[scenario].tables[0].users
    for index, (user, item) in enumerate(zip(users.user_ids, users.item_ids, strict=True)):
        yield _Row((scenario, user), item, index, float(gains[index]), float(gaps[index]), float(best[index]))


def _mean_ranks(entry: Entry, candidates: str) -> Floats:
    """Expected ranks, mean over seeds: float64 [n_users]; a miss ranks below everything."""
    ranks = [table.ranks[candidates] for table in entry.tables]
    rows = [np.where(r.above == MISSED, MISSED, r.above + 1 + r.tied / 2) for r in ranks]
    return np.asarray(np.mean(rows, axis=0))


def _once(rows: Iterable[_Row], n: int) -> Iterable[_Row]:
    """The first n rows of different users or held-out items."""
    seen: set[tuple[str, str]] = set()
    for row in rows:
        key = (row.place[1], row.item)
        if len(seen) < n and key not in seen:
            seen.add(key)
            yield row


def make_examples(
    pair: PairComparison, chosen: Iterable[Chosen], texts: Mapping[str, Texts]
) -> tuple[list[Example], list[str]]:
    """Examples with what is known of them, and a line for each thing that is missing.

    Args:
        pair: the comparison.
        chosen: see `choose_users`.
        texts: of the scenarios of which they are known.
    """
    sides = pair.sides.a, pair.sides.b
    missing: dict[str, None] = {}
    without_lists: dict[Path, dict[str, str]] = {}
    read = cache(_read_lists)
    examples = []
    for user in chosen:
        entries = [side.entries[user.scenario] for side in sides]
        users = entries[0].tables[0].users
        user_id, item = users.user_ids[user.row], users.item_ids[user.row]
        lists: list[tuple[str, ...] | None] = []
        for side, entry in zip(sides, entries, strict=True):
            try:
                known_lists = read(entry.paths[0])
            except HarnessError as error:
                missing[f"No lists of {side.label}: {error}"] = None
                lists.append(None)
                continue
            lists.append(known_lists[user_id] if known_lists else None)
            if known_lists is None:
                without_lists.setdefault(entry.results[0].path.parents[1], {})[side.label] = entry.method
        known = texts.get(user.scenario)
        history = known.histories.get(user_id) if known else None
        items = {item, *(history or ()), *(lists[0] or ()), *(lists[1] or ())}
        examples.append(
            Example(
                user.kind,
                user.scenario,
                user_id,
                item,
                user.difference,
                (_seeds(entries[0]), _seeds(entries[1])),
                (_ranks(entries[0], pair.candidates, user.row), _ranks(entries[1], pair.candidates, user.row)),
                None if history is None else history[-SHOWN:],
                None if history is None else len(history),
                (lists[0], lists[1]),
                {each: known.titles[each] for each in sorted(items) if known and known.titles.get(each)},
            )
        )
    missing |= dict.fromkeys(_no_lists(suite, methods) for suite, methods in without_lists.items())
    return examples, list(missing)


def _no_lists(suite: Path, methods: Mapping[str, str]) -> str:
    """Says that runs kept no lists, and how to get them.

    Args:
        suite: name and version, as in `cdsr/v1`.
        methods: their names by label.
    """
    shipped = shipped_suite(suite.parts[0], int(suite.parts[1][1:]))
    how = (
        f"Run: harness run --suite {suite} {' '.join(f'--method {name}' for name in dict.fromkeys(methods.values()))}."
    )
    if shipped is not None and shipped.retired:
        how = f"{suite} is retired; runs of newer versions keep them."
    return f"No lists of {' and '.join(methods)}: the runs kept none. {how}"


def _seeds(entry: Entry) -> tuple[int, ...]:
    return tuple(result.seed for result in entry.results)


def _ranks(entry: Entry, candidates: str, row: int) -> tuple[str, ...]:
    return tuple(_rank(table.ranks[candidates], row) for table in entry.tables)


def _rank(ranks: Ranks, row: int) -> str:
    """A rank, or the ranks that are equally likely among ties."""
    above, tied = int(ranks.above[row]), int(ranks.tied[row])
    if above == MISSED:
        return "none"
    return f"{above + 1:,}" if not tied else f"{above + 1:,} to {above + tied + 1:,}"


def _read_lists(path: Path) -> dict[str, tuple[str, ...]] | None:
    """The lists of a result by user id, cut at what is shown; None if the run kept none.

    Raises:
        HarnessError: a file is missing, or is not the one that the result was made with.
    """
    result, users = read_record(path), TestUsers.from_parquet(users_path(path))
    lists = read_recommendations(path, result, users)
    if lists is None:
        return None
    ids = CatalogueItems.from_parquet(items_path(path)).item_ids
    top = lists.top(SHOWN)
    return {
        user: tuple(ids[item] for item in items if item >= 0) for user, items in zip(users.user_ids, top, strict=True)
    }
