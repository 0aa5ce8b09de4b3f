"""Tables of tie audits: what the order of events rests on, one row per domain."""

from collections.abc import Mapping

from harness.data.ties import Neighbours, TieAudit, percent
from harness.report.collect import Board
from harness.report.markdown import table


def order_of_ties(board: Board) -> list[str]:
    """A section with the tie audits of a board's results; empty if there are none."""
    audits: dict[str, TieAudit] = {}
    for result in board.results:
        for name, record in result.data.items():
            if record.ties is not None:
                audits.setdefault(name, record.ties)
    if not audits:
        return []
    warnings = [f"- **{line}**" for line in tie_warnings(audits)]
    return ["", "## Order of ties", "", tie_table(audits), *([""] * bool(warnings)), *warnings]


def tie_table(audits: Mapping[str, TieAudit]) -> str:
    """One row per domain; columns that are empty for all are left out."""
    rows = [_row(name, audit) for name, audit in audits.items()]
    headings = [heading for heading in rows[0] if any(row[heading] != "–" for row in rows)]
    body = [[row[heading] for heading in headings] for row in rows]
    return table(headings, body)


def tie_warnings(audits: Mapping[str, TieAudit]) -> list[str]:
    """Shares that are far from chance, one sentence each."""
    return [f"{name}: {warning}" for name, audit in audits.items() for warning in audit.warnings()]


def _row(name: str, audit: TieAudit) -> dict[str, str]:
    last = audit.last_numbers if audit.id_kind == "numbers" and audit.last_numbers else audit.last_ids
    return {
        "domain": name,
        "ties": audit.order or "no timestamps",
        "events tied": percent(audit.tied),
        "tied with the one before": percent(audit.tied_with_previous),
        "validation in a tie": percent(audit.validation_tied),
        "test in a tie": percent(audit.test_tied),
        "ids compared as": audit.id_kind,
        "ids rise within ties, in the file": _rising(audit.file_within, audit.id_kind),
        "within ties, here": _rising(audit.within, audit.id_kind),
        "outside ties": _rising(audit.outside, audit.id_kind),
        "lines rise within ties": _rising(audit.within, "places"),
        "lines rise outside ties": _rising(audit.outside, "places"),
        "test item has the largest id": percent(last.largest if last else None),
        "the smallest": percent(last.smallest if last else None),
        "either by chance": percent(audit.last_chance),
    }


def _rising(neighbours: Neighbours | None, kind: str) -> str:
    rising = neighbours.of(kind) if neighbours else None
    return percent(rising.share if rising else None)
