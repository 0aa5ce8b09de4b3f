"""What the source domains are worth: each row against the same thing without them, user by user."""

from dataclasses import replace

import numpy as np
from tabulate import tabulate

from harness.protocol.metrics import Floats
from harness.protocol.significance import estimate
from harness.report.collect import Board, Entry
from harness.report.markdown import escaped

_METRIC = ("full", "ndcg@10")


def transfer(board: Board) -> list[str]:
    """A section with a table for each scenario; nothing where no row can be held against another."""
    sections = [lines for scenario in board.scenarios if (lines := _scenario(board, scenario))]
    if not sections:
        return []
    return [
        "",
        "## Transfer",
        "",
        "Gain in NDCG@10 over the method that each names as the same without source domains (against); ± the "
        "half-width of the 95 % confidence interval over seeds and users. Helped, hurt: share of test users whose "
        "NDCG@10, mean over seeds, is higher or lower. Below 0 the sources do harm. Added: what the scenario gains "
        "over the one without that source.",
        *(line for section in sections for line in section),
    ]


def _scenario(board: Board, scenario: str) -> list[str]:
    entries = {entry.method: entry for entry in board.scenarios[scenario]}
    rows = []
    for method, entry in entries.items():
        against = entries.get(entry.results[0].reference or "")
        if against is None or against is entry or not _uses_sources(entry):
            continue
        pair = _paired(entry, against)
        if pair is None:
            continue
        own, theirs = pair
        gain, users = estimate(own - theirs), (own - theirs).mean(axis=0)
        rows.append(
            (
                gain.mean,
                [
                    escaped(method),
                    escaped(against.method),
                    f"{gain.mean:+.4f} ± {gain.half_width:.4f}",
                    f"{(users > 0).mean():.1%}",
                    f"{(users < 0).mean():.1%}",
                    _added(board, entry) or "–",
                ],
            )
        )
    if not rows:
        return []
    headings = ["method", "against", "gain", "helped", "hurt", "added"]
    body = [row for _, row in sorted(rows, key=lambda row: (-row[0], row[1]))]
    if all(row[-1] == "–" for row in body):
        headings, body = headings[:-1], [row[:-1] for row in body]
    align = ["left", "left", *["right"] * 3, "left"][: len(headings)]
    table = tabulate(body, headings, tablefmt="pipe", disable_numparse=True, colalign=align)
    return ["", f"### {escaped(scenario)}", "", table]


def _uses_sources(entry: Entry) -> bool:
    """Whether the method learns from a source."""
    first = entry.results[0]
    return bool(set(first.learns_from) & set(first.scenario.sources))


def _paired(a: Entry, b: Entry) -> tuple[Floats, Floats] | None:
    """Users' values of the seeds that both have: float64 [n_seeds, n_users] each; None if they are of other users."""
    values = []
    seeds = {r.seed for r in a.results} & {r.seed for r in b.results}
    of = a.tables[0].users
    if set(of.user_ids) != set(b.tables[0].users.user_ids):
        return None
    if b.tables[0].users != of:
        b = replace(b, tables=tuple(table.of_users(of) for table in b.tables))
    for entry in (a, b):
        own = entry.values(*_METRIC)
        if own is None or not seeds:
            return None
        values.append(own[np.array([r.seed in seeds for r in entry.results])])
    return values[0], values[1]


def _added(board: Board, entry: Entry) -> str:
    """For each source, the gain over the scenario of the same target with the other sources."""
    here = entry.results[0].scenario
    found: list[str] = []
    if here.overlap == "none":  # who is in the target depends on the sources: the users are not the same
        return ""
    for source in here.sources:
        others = set(here.sources) - {source}
        for entries in board.scenarios.values():
            for other in entries:
                there = other.results[0].scenario
                same = (there.target, set(there.sources), there.split, there.overlap)
                if other.method == entry.method and same == (here.target, others, here.split, here.overlap):
                    pair = _paired(entry, other)
                    if pair is not None:
                        found.append(f"{source} {float((pair[0] - pair[1]).mean()):+.4f}")
    return ", ".join(found)
