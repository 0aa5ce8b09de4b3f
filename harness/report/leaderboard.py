"""The markdown leaderboard: a pure function of result files."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from tabulate import tabulate

from harness.files import digest
from harness.protocol.metrics import Floats
from harness.protocol.significance import Estimate, estimate, holm, paired_randomisation_p
from harness.protocol.split import SelectedOnTest
from harness.report.collect import Board, Entry
from harness.report.merging import merging
from harness.report.published import beside_published
from harness.report.training import training
from harness.report.transfer import transfer
from harness.results.record import LeakageRecord, RunResult
from harness.suites import shipped_suite

#: What methods are ordered and tested by.
MAIN = ("full", "ndcg@10")

#: Heading -> (candidates, metric, slice).
_COLUMNS = {
    "HR@10": ("full", "hr@10", "all"),
    "MRR@10": ("full", "mrr@10", "all"),
    "NDCG@10, cold users": ("full", "ndcg@10", "cold_users"),
    "NDCG@10, head items": ("full", "ndcg@10", "head_items"),
    "NDCG@10, tail items": ("full", "ndcg@10", "tail_items"),
    "NDCG@10, cold items": ("full", "ndcg@10", "cold_items"),
}

_FEWEST_SEEDS = 3


@dataclass(frozen=True)
class _Row:
    entry: Entry
    main: Floats
    figure: Estimate


def leaderboard(board: Board) -> str:
    """The leaderboard of a suite as markdown: an overview, a table for each scenario, and where it came from."""
    ordered = {scenario: _ordered(entries) for scenario, entries in board.scenarios.items()}
    parts = [
        _title(board),
        _overview(ordered),
        _tables(ordered),
        transfer(board),
        beside_published(board),
        training(board),
        merging(board),
        _footer(board),
    ]
    return "\n".join(line for part in parts for line in part) + "\n"


def overview(board: Board) -> str:
    """The table of NDCG@10 by method and scenario, the best in bold, as markdown."""
    return _overview({scenario: _ordered(entries) for scenario, entries in board.scenarios.items()})[-1]


def _title(board: Board) -> list[str]:
    counts = {len(entry.results) for entries in board.scenarios.values() for entry in entries}
    least = min(counts)
    remarks = []
    if least < _FEWEST_SEEDS:
        remarks.append(f"only {least} seed{'s' if least > 1 else ''}")
    if any(_selected_on_test(entry.results[0]) for entries in board.scenarios.values() for entry in entries):
        remarks.append("selected on test")
    remark = f" ({'; '.join(remarks)})" if remarks else ""
    lines = [
        f"# {board.suite} v{board.version}{remark}",
        "",
        "Derived from the files in `results/` by `harness leaderboard`; do not edit.",
        "",
        "NDCG@10 over the **full** target catalogue less each user's history, unless a column says otherwise. "
        "Figures are means over seeds and users ± the half-width of their 95 % confidence interval. "
        "**Bold**: the best of its table. †: the paired randomisation test over users, Holm-corrected over the "
        "table, cannot tell it from the best (p ≥ 0.05).",
    ]
    if len(counts) > 1:
        lines += ["", f"**Incomplete:** entries have between {least} and {max(counts)} seeds."]
    if any(_untuned(entry) for entries in board.scenarios.values() for entry in entries):
        lines += ["", "‡: default settings, though the budget has trials to choose them by: the row may do better."]
    missing = _missing(board)
    if missing:
        lines += ["", f"**Incomplete:** no result of {', '.join(missing)}."]
    unmade = _unmade(board)
    if unmade:
        lines += ["", f"**Incomplete:** nothing at all yet of what the suite has too: {', '.join(unmade)}."]
    return lines


def _untuned(entry: Entry) -> bool:
    return any(r.budget["trials"] > 1 and r.settings and r.tuning is None for r in entry.results)


def _name(entry: Entry) -> str:
    return entry.method + ("‡" if _untuned(entry) else "")


def _missing(board: Board) -> list[str]:
    methods = sorted({entry.method for entries in board.scenarios.values() for entry in entries})
    return [
        f"{method} on {scenario}"
        for scenario, entries in board.scenarios.items()
        for method in methods
        if method not in {entry.method for entry in entries}
    ]


def _unmade(board: Board) -> list[str]:
    """Methods and scenarios of a suite of the harness's own that no result is of; of others' suites nobody can tell."""
    suite = shipped_suite(board.suite, board.version)
    if suite is None:
        return []
    methods = {entry.method for entries in board.scenarios.values() for entry in entries}
    wanted = [*suite.methods, *(scenario.name for scenario in suite.scenarios)]
    return [name for name in wanted if name not in methods | board.scenarios.keys()]


def _ordered(entries: tuple[Entry, ...]) -> list[_Row]:
    rows = []
    for entry in entries:
        values = entry.values(*MAIN)
        assert values is not None  # noqa: S101 - every suite has full candidates, and a result has users
        rows.append(_Row(entry, values, estimate(values)))
    return sorted(rows, key=lambda row: (-row.figure.mean, row.entry.method))


def _overview(ordered: dict[str, list[_Row]]) -> list[str]:
    means: dict[str, dict[str, float]] = {}
    names: dict[str, str] = {}
    for scenario, rows in ordered.items():
        for row in rows:
            means.setdefault(row.entry.method, {})[scenario] = row.figure.mean
            names[row.entry.method] = max(names.get(row.entry.method, ""), _name(row.entry), key=len)
    scenarios = list(ordered)

    def average(method: str) -> float:
        return float(np.mean([means[method].get(scenario, 0.0) for scenario in scenarios]))

    best = {s: ordered[s][0].entry.method for s in scenarios}
    methods = sorted(means, key=lambda method: (-average(method), method))
    body = [
        [
            names[method],
            *(_bold(f"{means[method][s]:.4f}", best[s] == method) if s in means[method] else "–" for s in scenarios),
            f"{average(method):.4f}" if len(means[method]) == len(scenarios) else "–",
        ]
        for method in methods
    ]
    return ["", "## Overview: NDCG@10, full catalogue", "", _table(["method", *scenarios, "mean"], body)]


def _tables(ordered: dict[str, list[_Row]]) -> list[str]:
    lines = []
    for scenario, rows in ordered.items():
        described = rows[0].entry.results[0]
        target = described.data[described.scenario.target]
        others = [name for name in described.candidates if name != "full"]
        same = _indistinguishable(rows)
        body = [
            [
                _bold(_name(row.entry), row is rows[0]),
                _bold(f"{row.figure.mean:.4f} ± {row.figure.half_width:.4f}", row is rows[0])
                + ("†" if same[index] else ""),
                *(_mean(row.entry, *column) for column in _COLUMNS.values()),
                *(_mean(row.entry, name, "ndcg@10", "all") for name in others),
            ]
            for index, row in enumerate(rows)
        ]
        headings = ["method", "NDCG@10", *_COLUMNS, *(f"NDCG@10, {name}" for name in others)]
        sizes = described.slices
        lines += [
            "",
            f"## {scenario}",
            "",
            f"Target {described.scenario.target} ({target.users:,} users, {target.items:,} items, "
            f"{target.training_interactions:,} training interactions), sources "
            f"{', '.join(described.scenario.sources)}; split {_split(described)}"
            f"{'; shared users left in one domain only' if described.scenario.overlap == 'none' else ''}. "
            f"Test users: {sizes['all']:,} ({described.left_out:,} take no part), of them cold "
            f"{sizes['cold_users']:,}; held-out items: head {sizes['head_items']:,}, tail {sizes['tail_items']:,}, "
            f"cold {sizes['cold_items']:,}.",
            "",
            guard(described),
            "",
            _table(headings, body),
        ]
    return lines


def _split(result: RunResult) -> str:
    name, *instants = result.scenario.split.split("/")
    days = [f"{datetime.fromtimestamp(int(t), UTC):%Y-%m-%d}" for t in instants]
    return f"{name} (validation from {days[0]}, test from {days[1]})" if days else name


def guard(result: RunResult) -> str:
    """What a scenario's training knows of its test, in sentences: selection by the test, where the split says so,
    and the cross-domain time guard: what lies in the future of the test events.
    """
    told = _time_guard(result.leakage)
    if not _selected_on_test(result):
        return told
    return (
        "**Selected on test**: settings and checkpoints were chosen by the events that are reported here. The figures "
        f"are too good, and stand beside no figure of another split. {told}"
    )


def guarded(result: RunResult) -> bool:
    """Whether training surely knew neither the test events nor what came after them."""
    leakage = result.leakage
    return not _selected_on_test(result) and not (leakage.unknown or leakage.exposed_users)


def _selected_on_test(result: RunResult) -> bool:
    return result.scenario.split == SelectedOnTest().identity


def _time_guard(leakage: LeakageRecord) -> str:
    if leakage.unknown or leakage.later is None:
        return f"Time guard: cannot be told ({leakage.unknown})."
    if not any(leakage.later.values()):
        return "Time guard: no training or validation event of any domain is later than a test event."
    later = ", ".join(f"{name} {count:,}" for name, count in leakage.later.items())
    return (
        f"Time guard: for {leakage.exposed_users:.1%} of the test users the training data hold events, in some "
        f"domain, later than their test event (for {leakage.exposed_by_own:.1%} events of their own). Training and "
        f"validation events later than the first test event: {later}."
    )


def _indistinguishable(rows: list[_Row]) -> list[bool]:
    """For each row, whether the test cannot tell it from the first."""
    best = rows[0].main.mean(axis=0)
    p_values = holm([paired_randomisation_p(best, row.main.mean(axis=0)) for row in rows[1:]])
    return [False, *(p >= 0.05 for p in p_values)]


def _footer(board: Board) -> list[str]:
    results = board.results
    first = results[0]
    sources = sorted({result.code.source for result in results})
    lines = [
        "",
        "## Where this comes from",
        "",
        f"- {len(results)} results; digest of their contents "
        f"`{digest([result.content_digest() for result in results])[:16]}`.",
        f"- Seeds: {', '.join(map(str, sorted({result.seed for result in results})))}. "
        f"Budget of every trained method: "
        f"{', '.join(f'{name} {value}' for name, value in first.budget.items())} (validation NDCG@10 selects).",
        f"- Harness {', '.join(sorted({result.code.version for result in results}))}; "
        f"packages {', '.join(f'{name} {version}' for name, version in first.packages.items())}.",
    ]
    if len(sources) > 1:
        shown = ", ".join(f"`{source[:12]}`" for source in sources)
        lines.append(f"- **The results were made by {len(sources)} states of the code** ({shown}).")
    if any(result.packages != first.packages for result in results):
        lines.append("- **The results were made with different package versions**; those of the first are shown.")
    absent: dict[tuple[str, str], list[str]] = {}
    for result in results:
        for name, record in result.candidates.items():
            if record.absent:
                absent.setdefault((name, record.absent), []).append(result.method)
    lines += _indexes(results)
    lines += _validity(results)
    for (name, reason), methods in sorted(absent.items()):
        lines.append(f"- {name} is not measured for {', '.join(sorted(set(methods)))}: {reason}.")
    return lines


def _indexes(results: list[RunResult]) -> list[str]:
    """What approximate indexes missed; nothing to say of exact ones."""
    least: dict[tuple[str, str], float] = {}
    for result in results:
        for name, record in result.candidates.items():
            if record.index not in (None, "exact") and record.recall is not None:
                key = (name, result.method)
                least[key] = min(record.recall, least.get(key, 1.0))
    return [
        f"- {name} of {method} comes from an approximate index, which finds at least {recall:.4f} of what an exact "
        "one does."
        for (name, method), recall in sorted(least.items())
    ]


def _validity(results: list[RunResult]) -> list[str]:
    """What was wrong with written answers."""
    lines = []
    for result in results:
        for candidates, found in (result.validity or {}).items():
            faults = [f"{name} {share:.1%}" for name, share in found.items() if name != "answers"]
            lines.append(
                f"- {result.method} on {result.scenario.name}, {candidates}, seed {result.seed}, wrote "
                f"{found['answers']:,.0f} answers: {', '.join(faults)}."
            )
    return lines


def _mean(entry: Entry, candidates: str, metric: str, members: str) -> str:
    values = entry.values(candidates, metric, members)
    return "–" if values is None else f"{values.mean():.4f}"


def _bold(text: str, bold: bool) -> str:
    return f"**{text}**" if bold else text


def _table(headings: list[str], body: list[list[str]]) -> str:
    # Cells are finished text: tabulate must not read them as numbers and print them its own way.
    align = ["left", *["right"] * (len(headings) - 1)]
    return tabulate(body, headings, tablefmt="pipe", disable_numparse=True, colalign=align)
