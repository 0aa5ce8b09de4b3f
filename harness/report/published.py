"""A board's rows beside figures that others published on the same data with the same protocol."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.report.collect import Board, Entry
from harness.report.markdown import escaped
from harness.report.tables import DASH, Cell, Table, folded, make_table
from harness.results.record import RunResult
from harness.suites.published import Figure, Protocol, Source, published_sources


@dataclass(frozen=True)
class _Claim:
    """What a source reports of a method on the target of some entries of a board.

    Attributes:
        source: where it stands.
        figure: of the method.
        values: by metric.
        entries: the board's, of all scenarios with this target.
    """

    source: Source
    figure: Figure
    values: dict[str, float]
    entries: tuple[Entry, ...]

    @property
    def target(self) -> str:
        """The target domain, as the board names it."""
        return self.entries[0].results[0].scenario.target


def beside_published(board: Board) -> list[str]:
    """A section with the figures of the board's own protocol, and a line on the others; empty if there are none."""
    claims = list(_claims(board))
    reasons = Counter(reason for claim in claims if (reason := _comparable(claim)[1]))
    groups: dict[tuple[str, str], list[_Claim]] = {}
    for claim in claims:
        if not _comparable(claim)[1]:
            groups.setdefault((claim.target, claim.source.protocol.candidate_set or ""), []).append(claim)
    cited = {claim.source.key: claim.source for group in groups.values() for claim in group}
    numbers = {key: number for number, key in enumerate(sorted(cited), 1)}
    lines = []
    if groups:
        lines = [
            "Made on the same data with the same k-core, split, candidates and order of ties, as far as their sources "
            "say; settings and budgets are theirs. Each table also has the best row of this board, and the rows of the "
            "same model with the same loss. Row here: that row; here is: by how much its figure in the last column of "
            "figures is above or below the published one.",
        ]
        for (target, candidates), group in sorted(groups.items()):
            table = _table(group, candidates, numbers)
            lines += ["", f"### Published: {escaped(target)}, {candidates}, all users", "", table.markdown]
        lines += [
            "",
            *(f"- [{numbers[key]}]({cited[key].url}): {escaped(cited[key].citation)}" for key in sorted(cited)),
        ]
    if reasons:
        why = "; ".join(f"{count} for {name}" for name, count in sorted(reasons.items(), key=lambda r: (-r[1], r[0])))
        lines += [
            *([""] if groups else []),
            f"Not shown, as their protocol is another one or not known: {reasons.total()} more methods and targets "
            f"({why}). `harness ls --published` lists all.",
        ]
    return ["", "## Beside published figures", "", *lines] if lines else []


def _claims(board: Board) -> Iterator[_Claim]:
    """All published figures on the board's targets."""
    targets: dict[tuple[int, int], list[Entry]] = {}
    for entry in board.entries:
        first = entry.results[0]
        data = first.data[first.scenario.target]
        targets.setdefault((data.users, data.items), []).append(entry)
    for source in published_sources():
        for figure in source.figures:
            for name, values in figure.values.items():
                entries = targets.get((source.data[name].users, source.data[name].items))
                if entries:
                    yield _Claim(source, figure, values, tuple(entries))


def _comparable(claim: _Claim) -> tuple[list[Entry], str]:
    """The entries with the protocol of a figure; or none, and what differs in those that come nearest."""
    differences = [_differences(claim.source.protocol, entry.results[0]) for entry in claim.entries]
    nearest = min(differences, key=len)
    if nearest:
        return [], ", ".join(nearest)
    return [e for e, differing in zip(claim.entries, differences, strict=True) if not differing], ""


def _differences(protocol: Protocol, result: RunResult) -> list[str]:
    """In what a result differs from a published protocol."""
    target = result.scenario.target
    ties = result.data[target].ties
    order = None if ties is None else (ties.order or "file").partition(",")[0]
    candidates = protocol.candidate_set
    checks = {
        "the k-core": result.scenario.k_core[target] == protocol.k_core,
        "the split": (result.scenario.split.partition("/")[0], result.scenario.overlap) == (protocol.split, "kept"),
        "the order of ties": order == protocol.ties,
        "a draw of users": result.test_users is None and result.user_limit is None,
    }
    if candidates is None:
        checks["an unknown history" if protocol.history == "unknown" else "the history"] = False
    else:
        record = result.candidates.get(candidates)
        checks[f"candidates `{candidates}`"] = record is not None and record.metrics is not None
    return [name for name, is_same in checks.items() if not is_same]


def _table(claims: list[_Claim], candidates: str, numbers: Mapping[str, int]) -> Table:
    """Published figures and rows of the board on one target among the same candidates, the best first.

    Args:
        claims: comparable ones.
        candidates: the candidate set.
        numbers: of the sources.
    """
    metrics = [metric for metric in claims[0].values if all(metric in claim.values for claim in claims)]
    entries = {id(entry): entry for claim in claims for entry in _comparable(claim)[0]}.values()
    means = [(entry, [entry.mean(candidates, metric) or 0.0 for metric in metrics]) for entry in entries]
    best = max(means, key=lambda row: row[1][-1])[0]
    own: dict[str, tuple[Entry, list[float]]] = {}
    for entry, values in means:
        # Methods without sources have the same figures in all scenarios of a target: the first stands for them.
        if entry is best or entry.method in {claim.figure.row for claim in claims}:
            own.setdefault(entry.method, (entry, values))
    rows = []
    for entry, values in own.values():
        names = [entry.method, DASH, entry.results[0].scenario.name, *(f"{value:.4f}" for value in values), DASH, DASH]
        rows.append((values[-1], [Cell(name) for name in names]))
    for claim in claims:
        values = [claim.values[metric] for metric in metrics]
        same = own.get(claim.figure.row or "")
        ratio = f"{same[1][-1] / values[-1] - 1:+.0%}" if same else DASH
        cells = [
            Cell(claim.figure.method),
            folded(claim.figure.loss, 24),
            Cell(f"[{numbers[claim.source.key]}]"),
            *(Cell(f"{value:.4f}") for value in values),
            Cell(same[0].method if same else DASH),
            Cell(ratio),
        ]
        rows.append((values[-1], cells))
    headings = ["method", "loss", "by", *(metric.upper() for metric in metrics), "row here", "here is"]
    return make_table("", headings, [cells for _, cells in sorted(rows, key=lambda row: -row[0])])
