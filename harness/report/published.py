"""A board's rows beside figures that others published on the same data with the same protocol."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from harness.published import Figure, Protocol, Source, published_sources
from harness.report.collect import Board, Entry
from harness.report.markdown import escaped
from harness.report.tables import DASH, Cell, make_table
from harness.results.record import RunResult

_HEADINGS = ("method", "target", "candidates", "metric", "published", "row here", "here", "here is", "by")


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
    if not claims:
        return []
    body, cited = [], dict[str, int]()
    reasons: Counter[str] = Counter()
    for claim in claims:
        comparable, reason = _comparable(claim)
        if reason:
            reasons[reason] += 1
            continue
        number = cited.setdefault(claim.source.key, len(cited) + 1)
        body += _rows(claim, comparable, number)
    lines = ["", "## Beside published figures", ""]
    if body:
        by_key = {source.key: source for source in published_sources()}
        sources = (f"- [{number}]({by_key[key].url}): {escaped(by_key[key].citation)}" for key, number in cited.items())
        lines += [
            "Made on the same data with the same k-core, split, candidates and order of ties, as far as their sources "
            "say. Settings and budgets are theirs. Row here: the same model with the same loss, if the board has it.",
            "",
            make_table("", _HEADINGS, body).markdown,
            "",
            *sources,
        ]
    if reasons:
        why = "; ".join(
            f"{count} for {reason}" for reason, count in sorted(reasons.items(), key=lambda r: (-r[1], r[0]))
        )
        lines += [
            *([""] if body else []),
            f"Not shown, as they are of another protocol or it is not known: {sum(reasons.values())} more methods and "
            f"targets ({why}). `harness ls --published` lists all.",
        ]
    return lines


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
    }
    if candidates is None:
        checks["an unknown history" if protocol.history == "unknown" else "the history"] = False
    else:
        record = result.candidates.get(candidates)
        checks[f"candidates `{candidates}`"] = record is not None and record.metrics is not None
    return [name for name, is_same in checks.items() if not is_same]


def _rows(claim: _Claim, comparable: list[Entry], number: int) -> Iterator[list[Cell]]:
    """A row for each metric."""
    candidates = claim.source.protocol.candidate_set or ""
    # Methods without sources have the same figures in all scenarios of a target.
    same = next((entry for entry in comparable if entry.method == claim.figure.row), None)
    for metric, value in claim.values.items():
        mean = same.mean(candidates, metric) if same else None
        yield [
            Cell(claim.figure.method),
            Cell(claim.target),
            Cell(candidates),
            Cell(metric.upper()),
            Cell(f"{value:.4f}"),
            Cell(same.method if same else DASH),
            Cell(DASH if mean is None else f"{mean:.4f}"),
            Cell(DASH if mean is None else f"{mean / value - 1:+.0%}"),
            Cell(f"[{number}]"),
        ]
