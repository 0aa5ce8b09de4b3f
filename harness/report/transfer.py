"""The gain of source domains: each method against the same without them, user by user."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from harness.protocol.metrics import Floats
from harness.protocol.significance import MeanInterval, SeedSpread, mean_interval
from harness.report.collect import Board, Entry
from harness.report.comparison import MAIN, Comparison, Gain, Pair, compare, compare_over_scenarios
from harness.report.markdown import bold, escaped, table


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
        "whose NDCG@10, mean over seeds, is higher or lower. Added: what the scenario gains over the one without that "
        "source.",
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
        lines += ["", "### Mean over scenarios", "", _table(over_all, ["above 0"], above)]
    for scenario, entries in board.scenarios.items():
        if pairs[scenario]:
            added = {e.method: added_by_source(board, e, comparisons[scenario].spread) for e in entries}
            extra = {
                pair: [f"{(gain.users > 0).mean():.1%}", f"{(gain.users < 0).mean():.1%}", added[pair[0]]]
                for pair, gain in gains[scenario][MAIN[0]].items()
            }
            headings = ["helped", "hurt", *(["added"] if any(added.values()) else [])]
            lines += ["", f"### {escaped(scenario)}", "", _table(gains[scenario], headings, extra)]
    return lines


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
            *map(escaped, pair),
            *(_figure(of[pair]) if pair in of else "–" for of in gains.values()),
            *(text or "–" for text in extra[pair][: len(headings)]),
        ]
        for pair, gain in sorted(main.items(), key=lambda item: (-item[1].figure.mean, item[0]))
    ]
    columns = ["gain" if name == MAIN[0] else f"gain, {name}" for name in gains]
    align = ["left", "left", *("left" if name == "added" else "right" for name in (*columns, *headings))]
    return table(["method", "against", *columns, *headings], body, align)


def _figure(gain: Gain) -> str:
    return bold(_signed(gain.figure), gain.is_found)


def _signed(figure: MeanInterval) -> str:
    return f"{figure.mean:+.4f} ± {figure.half_width:.4f}"


def paired_values(a: Entry, b: Entry, candidates: str = MAIN[0]) -> tuple[Floats, Floats] | None:
    """The main metric of two entries on their common seeds: float64 [n_seeds, n_users] each, paired by user.

    None if the entries have different users, no seed in common, or lack the candidates.
    """
    values = []
    seeds = {r.seed for r in a.results} & {r.seed for r in b.results}
    users = a.tables[0].users
    if set(users.user_ids) != set(b.tables[0].users.user_ids):
        return None
    if b.tables[0].users != users:
        b = replace(b, tables=tuple(ranks.reordered(users) for ranks in b.tables))
    for entry in (a, b):
        entry_values = entry.values(candidates, MAIN[1])
        if entry_values is None or not seeds:
            return None
        values.append(entry_values[np.array([r.seed in seeds for r in entry.results])])
    return values[0], values[1]


def added_by_source(board: Board, entry: Entry, spread: SeedSpread | None) -> str:
    """For each source, the gain over the scenario of the same target with the other sources.

    Args:
        board: the results.
        entry: of the scenario with the source.
        spread: between the seeds of its table.
    """
    scenario = entry.results[0].scenario
    gains: list[str] = []
    if scenario.overlap == "none":  # the users of the target depend on the sources
        return ""
    for source in scenario.sources:
        others = set(scenario.sources) - {source}
        without_source = (scenario.target, others, scenario.split, scenario.overlap)
        for other in board.entries:
            s = other.results[0].scenario
            if other.method == entry.method and (s.target, set(s.sources), s.split, s.overlap) == without_source:
                pair = paired_values(entry, other)
                if pair is not None:
                    gains.append(f"{source} {_signed(mean_interval(pair[0] - pair[1], spread))}")
    return ", ".join(gains)
