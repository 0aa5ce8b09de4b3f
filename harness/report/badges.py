"""Badges of rows: whether metrics were recomputed, the authors verified the row, and we made it again."""

from collections.abc import Iterable
from typing import Literal

from harness.protocol.metrics import CUTOFFS, RECORDED
from harness.report.collect import Board, Entry
from harness.report.markdown import escaped, table
from harness.results.record import RunResult
from harness.results.reproduction import read_reproduction
from harness.results.submission import Card, card_of

Badge = Literal["recomputed", "verified", "reproduced"]

#: Letters after a method's name. Nearly all rows are recomputed from ranks, so a note names those that are not.
MARKS: dict[Badge, str] = {"verified": "ᴬ", "reproduced": "ᴹ"}
_MEANING: dict[Badge, str] = {
    "recomputed": "recomputed from ranks",
    "verified": "verified by its authors",
    "reproduced": "made again by us",
}
_EXPLAINED: dict[Badge, str] = {
    "verified": ", as the card of its submission says",
    "reproduced": " from what its result files say, by `harness reproduce`, with all that is trained trained anew",
}
_METRICS = {f"{name}@{k}" for name in RECORDED for k in CUTOFFS}


def badges(entries: Iterable[Entry]) -> tuple[Badge, ...]:
    """The badges of a row, each of which all of its results must have.

    Args:
        entries: of one method, on one scenario or several.
    """
    results = [(entry, index) for entry in entries for index in range(len(entry.results))]
    has: dict[Badge, bool] = {
        "recomputed": all(_is_recomputed(entry.results[i]) for entry, i in results),
        "verified": all((card := _card(entry, i)) is not None and card.verified_by_authors for entry, i in results),
        "reproduced": all(_is_reproduced(entry, i) for entry, i in results),
    }
    return tuple(badge for badge, holds in has.items() if holds)


def marks(entries: Iterable[Entry]) -> str:
    """The badges of a row as letters."""
    return "".join(MARKS.get(badge, "") for badge in badges(entries))


def badges_note(board: Board) -> list[str]:
    """What the letters on a board mean, and which rows are not recomputed from ranks."""
    shown = [(entry.method, badges([entry])) for entry in board.entries]
    held = {badge for _, has in shown for badge in has}
    others = sorted({method for method, has in shown if "recomputed" not in has})
    sentences = [f"{mark}: {_MEANING[badge]}{_EXPLAINED[badge]}." for badge, mark in MARKS.items() if badge in held]
    but = f", but for those that only the files of these hold: {', '.join(map(escaped, others))}" if others else ""
    return ["", " ".join(["Every metric in the result files was recomputed from their ranks" + but + ".", *sentences])]


def submissions(board: Board) -> list[str]:
    """A section with a row for each submitted method; empty if there is none."""
    cards = {entry.method: card for entry in board.entries if (card := _card(entry, 0)) is not None}
    if not cards:
        return []
    rows = [
        [
            escaped(method),
            escaped(card.title),
            escaped(", ".join(card.authors)),
            ", ".join(_links(card)) or "–",
            escaped(card.licence),
            escaped(", ".join(card.trained_on)),
            escaped(card.other_data),
            ", ".join(_MEANING[badge] for badge in badges(e for e in board.entries if e.method == method)),
        ]
        for method, card in sorted(cards.items())
    ]
    headings = ["method", "title", "submitted by", "links", "licence", "trained on", "other data", "badges"]
    return [
        "",
        "## Submitted rows",
        "",
        "As their cards say. The harness checked results against ranks and data, and ran none of these methods.",
        "",
        table(headings, rows, ["left"] * len(headings)),
    ]


def _links(card: Card) -> list[str]:
    links = {"code": card.code, "paper": card.paper, "verified": card.verified_by_authors}
    return [f"[{name}]({link})" for name, link in links.items() if link]


def _is_recomputed(result: RunResult) -> bool:
    """Whether the ranks give all of a result's metrics; results whose values differ are not read at all."""
    records = [record.metrics for record in result.candidates.values() if record.metrics]
    return all(set(metrics) <= _METRICS for slices in records for metrics in slices.values())


def _card(entry: Entry, index: int) -> Card | None:
    return card_of(entry.paths[index]) if entry.paths else None


def _is_reproduced(entry: Entry, index: int) -> bool:
    if not entry.paths:
        return False
    record = read_reproduction(entry.paths[index], entry.results[index])
    return record is not None and record.confirms(entry.results[index])
