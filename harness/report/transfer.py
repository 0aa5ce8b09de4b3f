"""The gain of source domains: each method against the same without them, user by user."""

from dataclasses import replace

import numpy as np

from harness.protocol.metrics import Floats
from harness.protocol.significance import mean_interval
from harness.report.collect import Board, Entry
from harness.report.markdown import escaped, table
from harness.report.rows import MAIN


def transfer(board: Board) -> list[str]:
    """A section with a table for each scenario; empty if no method has its reference on the board."""
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
        reference = entries.get(entry.results[0].reference or "")
        if reference is None or reference is entry or not _uses_sources(entry):
            continue
        pair = paired_values(entry, reference)
        if pair is None:
            continue
        differences = pair[0] - pair[1]
        gain, users = mean_interval(differences), differences.mean(axis=0)
        rows.append(
            (
                gain.mean,
                [
                    escaped(method),
                    escaped(reference.method),
                    f"{gain.mean:+.4f} ± {gain.half_width:.4f}",
                    f"{(users > 0).mean():.1%}",
                    f"{(users < 0).mean():.1%}",
                    added_by_source(board, entry) or "–",
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
    return ["", f"### {escaped(scenario)}", "", table(headings, body, align)]


def _uses_sources(entry: Entry) -> bool:
    """Whether the method learns from a source."""
    first = entry.results[0]
    return bool(set(first.learns_from) & set(first.scenario.sources))


def paired_values(a: Entry, b: Entry) -> tuple[Floats, Floats] | None:
    """The main metric of two entries on their common seeds: float64 [n_seeds, n_users] each, paired by user.

    None if the entries have different users, or no seed in common.
    """
    values = []
    seeds = {r.seed for r in a.results} & {r.seed for r in b.results}
    users = a.tables[0].users
    if set(users.user_ids) != set(b.tables[0].users.user_ids):
        return None
    if b.tables[0].users != users:
        b = replace(b, tables=tuple(ranks.reordered(users) for ranks in b.tables))
    for entry in (a, b):
        entry_values = entry.values(*MAIN)
        if entry_values is None or not seeds:
            return None
        values.append(entry_values[np.array([r.seed in seeds for r in entry.results])])
    return values[0], values[1]


def added_by_source(board: Board, entry: Entry) -> str:
    """For each source, the gain over the scenario of the same target with the other sources."""
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
                    gains.append(f"{source} {float((pair[0] - pair[1]).mean()):+.4f}")
    return ", ".join(gains)
