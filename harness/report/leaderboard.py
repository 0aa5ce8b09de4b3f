"""The markdown leaderboard: a pure function of result files."""

from dataclasses import dataclass

import numpy as np
from tabulate import tabulate

from harness.data.times import as_day
from harness.protocol.candidates import CandidateSet
from harness.protocol.metrics import CUTOFFS, Floats, ndcg
from harness.protocol.significance import Estimate, estimate, holm, paired_randomisation_p
from harness.protocol.split import SelectedOnTest
from harness.report.collect import Board, Entry
from harness.report.failures import failed_methods, failed_scenarios, failure_lines
from harness.report.markdown import escaped
from harness.report.merging import merging
from harness.report.published import beside_published
from harness.report.ties import order_of_ties
from harness.report.training import training
from harness.report.transfer import transfer
from harness.results.record import CandidatesRecord, LeakageRecord, RunResult
from harness.storage.files import digest
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

#: The cell of a method whose users' figures are all those of the full catalogue.
_AS_FULL = "as full"


@dataclass(frozen=True)
class _Row:
    entry: Entry
    main: Floats
    figure: Estimate


def leaderboard(board: Board) -> str:
    """The leaderboard of a suite as markdown: an overview, a table for each scenario, and where it came from."""
    ordered = {scenario: _ordered(entries) for scenario, entries in board.scenarios.items()}
    as_full = _as_full(board)
    needless = _needless(board, as_full)
    parts = [
        _title(board),
        _overview(board, ordered),
        order_of_ties(board),
        _tables(board, ordered, as_full, needless),
        failed_scenarios(board),
        transfer(board),
        beside_published(board),
        training(board),
        merging(board),
        _footer(board, needless),
    ]
    return "\n".join(line for part in parts for line in part) + "\n"


def overview(board: Board) -> str:
    """The table of NDCG@10 by method and scenario, the best in bold, as markdown."""
    return _overview(board, {scenario: _ordered(entries) for scenario, entries in board.scenarios.items()})[-1]


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
    lines += _unscored(board)
    unmade = _unmade(board)
    if unmade:
        lines += ["", f"**Incomplete:** nothing at all yet of what the suite has too: {', '.join(unmade)}."]
    return lines


def _untuned(entry: Entry) -> bool:
    return any(r.budget["trials"] > 1 and r.settings and r.tuning is None for r in entry.results)


def _name(entry: Entry) -> str:
    return escaped(entry.method) + ("‡" if _untuned(entry) else "")


def _missing(board: Board) -> list[str]:
    methods = sorted({entry.method for entries in board.scenarios.values() for entry in entries})
    return [
        f"{escaped(method)} on {escaped(scenario)}"
        for scenario, entries in board.scenarios.items()
        for method in methods
        if method not in {entry.method for entry in entries}.union(failed_methods(board, scenario))
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


def _overview(board: Board, ordered: dict[str, list[_Row]]) -> list[str]:
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
    failed = {scenario: failed_methods(board, scenario) for scenario in scenarios}
    for method in (method for methods in failed.values() for method in methods):
        means.setdefault(method, {})
        names.setdefault(method, escaped(method))
    methods = sorted(means, key=lambda method: (-average(method), method))
    body = [
        [
            names[method],
            *(
                _bold(f"{means[method][s]:.4f}", best[s] == method)
                if s in means[method]
                else failed[s].get(method, "–")
                for s in scenarios
            ),
            f"{average(method):.4f}" if len(means[method]) == len(scenarios) else "–",
        ]
        for method in methods
    ]
    return ["", "## Overview: NDCG@10, full catalogue", "", _table(["method", *map(escaped, scenarios), "mean"], body)]


def _tables(
    board: Board,
    ordered: dict[str, list[_Row]],
    as_full: frozenset[tuple[str, str, str]],
    needless: frozenset[str],
) -> list[str]:
    lines = []
    for scenario, rows in ordered.items():
        described = rows[0].entry.results[0]
        target = described.data[described.scenario.target]
        others = [name for name in described.candidates if name not in ("full", *needless)]
        same = _indistinguishable(rows)
        body = [
            [
                _bold(_name(row.entry), row is rows[0]),
                _bold(f"{row.figure.mean:.4f} ± {row.figure.half_width:.4f}", row is rows[0])
                + ("†" if same[index] else ""),
                *(_mean(row.entry, *column) for column in _COLUMNS.values()),
                *(
                    _AS_FULL
                    if (scenario, row.entry.method, name) in as_full
                    else _mean(row.entry, name, "ndcg@10", "all")
                    for name in others
                ),
            ]
            for index, row in enumerate(rows)
        ]
        headings = ["method", "NDCG@10", *_COLUMNS, *(f"NDCG@10, {name}" for name in others)]
        for method, status in failed_methods(board, scenario).items():
            body.append([escaped(method), status, *["–"] * (len(headings) - 2)])
        sizes = described.slices
        lines += [
            "",
            f"## {escaped(scenario)}",
            "",
            f"Target {described.scenario.target} ({target.users:,} users, {target.items:,} items, "
            f"{target.training_interactions:,} training interactions), sources "
            f"{', '.join(described.scenario.sources)}; split {_split(described)}"
            f"{'; shared users left in one domain only' if described.scenario.overlap == 'none' else ''}. "
            f"Test users: {sizes['all']:,} ({described.left_out:,} take no part), of them cold "
            f"{sizes['cold_users']:,} (the {sizes['cold_users'] / sizes['all']:.1%} with the shortest histories); "
            f"held-out items: head {sizes['head_items']:,}, tail {sizes['tail_items']:,}, "
            f"cold {sizes['cold_items']:,}.",
            "",
            guard(described),
            "",
            _table(headings, body),
            *failure_lines(board, scenario),
        ]
    return lines


def _as_full(board: Board) -> frozenset[tuple[str, str, str]]:
    """Scenario, method and candidates, where an index changes nothing for any user, as far down as it retrieves."""
    found = []
    for scenario, entries in board.scenarios.items():
        for entry in entries:
            for name in entry.results[0].candidates:
                kind = CandidateSet.parse(name)
                cutoff = max((k for k in CUTOFFS if k <= kind.size), default=0)
                # Of fewer than ten items, NDCG@10 is another figure.
                if kind.kind == "retrieved" and cutoff >= 10 and all(name in table.ranks for table in entry.tables):
                    pairs = [(ndcg(t.ranks[name], cutoff), ndcg(t.ranks["full"], cutoff)) for t in entry.tables]
                    if all(np.allclose(ours, whole, rtol=0, atol=1e-9) for ours, whole in pairs):
                        found.append((scenario, entry.method, name))
    return frozenset(found)


def _needless(board: Board, as_full: frozenset[tuple[str, str, str]]) -> frozenset[str]:
    """Candidates that have no column, as every method that has figures on them has those of the full catalogue."""
    other = {
        name
        for scenario, entries in board.scenarios.items()
        for entry in entries
        for name, record in entry.results[0].candidates.items()
        if record.metrics is not None and (scenario, entry.method, name) not in as_full
    }
    return frozenset(name for _, _, name in as_full if name not in other)


def _split(result: RunResult) -> str:
    name, *instants = result.scenario.split.split("/")
    days = [as_day(instant) for instant in instants]
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


def _footer(board: Board, needless: frozenset[str]) -> list[str]:
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
            if record.absent and name not in needless:
                absent.setdefault((name, record.absent), []).append(result.method)
    lines += [
        f"- {name} has no column: its users' figures are those of `full`, as they must be where scores are the dot "
        "products that an exact index searches."
        for name in sorted(needless)
    ]
    lines += _indexes(results)
    lines += _validity(results)
    for (name, reason), methods in sorted(absent.items()):
        lines.append(f"- {name} is not measured for {escaped(', '.join(sorted(set(methods))))}: {escaped(reason)}.")
    return lines


def _indexes(results: list[RunResult]) -> list[str]:
    """What approximate indexes missed, by the run that missed most; nothing to say of exact ones."""
    least: dict[tuple[str, str], CandidatesRecord] = {}
    for result in results:
        for name, record in result.candidates.items():
            if record.index not in (None, "exact") and record.recall is not None:
                key = (name, result.method)
                least[key] = min(least.get(key, record), record, key=lambda record: record.recall or 0.0)
    return [
        f"- {name} of {escaped(method)} comes from an approximate index, which finds {record.recall:.4f} of what an "
        f"exact one does{_interval(record)}."
        for (name, method), record in sorted(least.items(), key=lambda pair: pair[0])
    ]


def _interval(record: CandidatesRecord) -> str:
    if record.recall_interval is None:
        return ", or more, for the users it was tried on"
    low, high = record.recall_interval
    return f" (95 % confidence interval {low:.4f} to {high:.4f}, from {record.recall_users:,} users drawn at random)"


def _unscored(board: Board) -> list[str]:
    """Methods that recommended nothing at all to some users."""
    lines = []
    for scenario, entries in board.scenarios.items():
        for entry in entries:
            for name in entry.results[0].candidates:
                users = [record.unscored for result in entry.results if (record := result.candidates.get(name))]
                most = max((count for count in users if count), default=0)
                if most:
                    share = most / entry.results[0].slices["all"]
                    lines += [
                        "",
                        f"**No scores:** {entry.method} on {scenario} gives no candidate of {name} a finite score for "
                        f"{most:,} test users ({share:.1%}), who count as misses.",
                    ]
    return lines


def _validity(results: list[RunResult]) -> list[str]:
    """What was wrong with written answers."""
    lines = []
    for result in results:
        for candidates, found in (result.validity or {}).items():
            faults = [f"{name} {share:.1%}" for name, share in found.items() if name != "answers"]
            lines.append(
                f"- {escaped(result.method)} on {escaped(result.scenario.name)}, {candidates}, seed {result.seed}, "
                f"wrote {found['answers']:,.0f} answers: {', '.join(faults)}."
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
