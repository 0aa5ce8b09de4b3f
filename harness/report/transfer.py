"""The gain of source domains: each method against the same without them, user by user."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from harness.protocol.metrics import Floats
from harness.protocol.significance import MeanInterval, SeedSpread, mean_interval
from harness.report.collect import Board, Entry
from harness.report.comparison import MAIN, Comparison, Gain, Pair, compare, compare_over_scenarios, is_higher
from harness.report.markdown import escaped
from harness.report.tables import DASH, Cell, bold_if, make_table, signed


def transfer(board: Board, comparisons: dict[str, Comparison]) -> list[str]:
    """A section with a table of mean gains and one for each scenario; empty if no method's reference is on the board.

    Args:
        board: the results.
        comparisons: of the rows of each scenario.
    """
    pairs = {scenario: reference_pairs(entries) for scenario, entries in board.scenarios.items()}
    if not any(pairs.values()):
        return []
    sampled = {name for result in board.results for name in result.candidates if name.startswith("sampled-")}
    columns = (MAIN[0], *sorted(sampled))
    lines = [
        "",
        "## Transfer",
        "",
        "Gain in NDCG@10 over the method that each names as the same without source domains (against); ± the "
        "half-width of the 95 % confidence interval over seeds and users, or over users only where there is one seed. "
        "**Bold**: differs from 0 by a randomisation test that holds the error over all gains of its column and table "
        "at 5 %; with one seed nothing is tested. Below 0 the sources do harm. Helped, hurt: share of test users "
        "whose NDCG@10, mean over seeds, is higher or lower.",
    ]
    gains = {
        scenario: {
            name: scenario_gains(board, scenario, comparisons[scenario], pairs[scenario], name) for name in columns
        }
        for scenario in board.scenarios
    }
    common = sorted(set.intersection(*map(set, pairs.values())))
    if len(pairs) > 1 and common:
        over_all = {name: compare_over_scenarios(board, name).gains(common) for name in columns}
        main = {pair: [of[MAIN[0]][pair].figure.mean for of in gains.values()] for pair in over_all[MAIN[0]]}
        above = {pair: [f"{sum(mean > 0 for mean in means)} of {len(means)}"] for pair, means in main.items()}
        lines += ["", "### Transfer: NDCG@10, all users, mean over scenarios", ""]
        lines += [_table(over_all, ["above 0"], above)]
    for scenario in board.scenarios:
        if pairs[scenario]:
            extra = {
                pair: [f"{share:.1%}" for share in is_higher(gain.users)]
                for pair, gain in gains[scenario][MAIN[0]].items()
            }
            lines += ["", f"### Transfer: {escaped(scenario)}, NDCG@10, all users", ""]
            lines += [_table(gains[scenario], ["helped", "hurt"], extra)]
    return [*lines, *_added(board, comparisons, pairs)]


def _added(board: Board, comparisons: Mapping[str, Comparison], pairs: Mapping[str, Sequence[Pair]]) -> list[str]:
    """A table of what single sources add to the methods of some pairs; empty if no scenario is without one of them."""
    body = [
        [Cell(scenario), Cell(entry.method), Cell(source), Cell(signed(gain))]
        for scenario, entries in board.scenarios.items()
        for entry in entries
        if entry.method in dict(pairs[scenario])
        for source, gain in added_by_source(board, entry, comparisons[scenario].spread).items()
    ]
    if not body:
        return []
    return [
        "",
        "### What a source adds: NDCG@10, full catalogue, all users",
        "",
        "What a method gains over the scenario of the same target with the other sources only.",
        "",
        make_table("", ["scenario", "method", "source", "gain"], body).markdown,
    ]


def reference_pairs(entries: Iterable[Entry]) -> list[Pair]:
    """Methods that learn from sources, and their references, where both have results."""
    methods = {entry.method for entry in entries}
    pairs = [(entry.method, entry.results[0].reference or "") for entry in entries if _uses_sources(entry)]
    return [(method, reference) for method, reference in pairs if reference in methods - {method}]


def _uses_sources(entry: Entry) -> bool:
    """Whether the method learns from a source."""
    first = entry.results[0]
    return bool(set(first.learns_from) & set(first.scenario.sources))


def scenario_gains(
    board: Board, scenario: str, main: Comparison, pairs: Iterable[Pair], candidates: str
) -> dict[Pair, Gain]:
    """Gains among some candidates; those of methods without the seeds for the table's test are not tested."""
    entries = board.scenarios[scenario]
    gains = (main if candidates == MAIN[0] else compare(entries, candidates)).gains(pairs)
    by_method = {entry.method: entry for entry in entries}
    for pair in set(pairs) - set(gains):
        values = paired_values(by_method[pair[0]], by_method[pair[1]], candidates)
        if values is not None:
            difference = values[0] - values[1]
            gains[pair] = Gain(mean_interval(difference), difference.mean(axis=0), is_found=False)
    return gains


def _table(gains: Mapping[str, Mapping[Pair, Gain]], headings: list[str], extra: Mapping[Pair, list[str]]) -> str:
    """One row per pair, the largest gain first.

    Args:
        gains: by candidate set, the first of which orders the rows.
        headings: of further columns.
        extra: their cells, by pair.
    """
    main = next(iter(gains.values()))
    body = [
        [
            *map(Cell, pair),
            *(
                bold_if(signed(of[pair].figure), of[pair].is_found) if pair in of else Cell(DASH)
                for of in gains.values()
            ),
            *map(Cell, extra[pair]),
        ]
        for pair, gain in sorted(main.items(), key=lambda item: (-item[1].figure.mean, item[0]))
    ]
    columns = ["gain" if name == MAIN[0] else f"gain, {name}" for name in gains]
    return make_table("", ["method", "against", *columns, *headings], body).markdown


def paired_values(a: Entry, b: Entry, candidates: str = MAIN[0]) -> tuple[Floats, Floats] | None:
    """The main metric of two entries on their common seeds: float64 [n_seeds, n_users] each, paired by user.

    None if the entries have different users, no seed in common, or lack the candidates.
    """
    values = []
    seeds = {r.seed for r in a.results} & {r.seed for r in b.results}
    users, others = a.tables[0].users, b.tables[0].users
    if users is not others and users != others:
        if set(users.user_ids) != set(others.user_ids):
            return None
        b = replace(b, tables=tuple(ranks.reordered(users) for ranks in b.tables))
    for entry in (a, b):
        entry_values = entry.values(candidates, MAIN[1])
        if entry_values is None or not seeds:
            return None
        values.append(entry_values[np.array([r.seed in seeds for r in entry.results])])
    return values[0], values[1]


def added_by_source(board: Board, entry: Entry, spread: SeedSpread | None) -> dict[str, MeanInterval]:
    """For each source, the gain over the scenario of the same target with the other sources, where there is one.

    Args:
        board: the results.
        entry: of the scenario with the source.
        spread: between the seeds of its table.
    """
    scenario = entry.results[0].scenario
    gains: dict[str, MeanInterval] = {}
    if scenario.overlap == "none":  # the users of the target depend on the sources
        return gains
    for source in scenario.sources:
        others = set(scenario.sources) - {source}
        without_source = (scenario.target, others, scenario.split, scenario.overlap)
        for other in board.entries:
            s = other.results[0].scenario
            if other.method == entry.method and (s.target, set(s.sources), s.split, s.overlap) == without_source:
                pair = paired_values(entry, other)
                if pair is not None:
                    gains[source] = mean_interval(pair[0] - pair[1], spread)
    return gains
