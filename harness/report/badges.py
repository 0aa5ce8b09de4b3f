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

#: Superscript letters after a method's name.
MARKS: dict[Badge, str] = {"recomputed": "ᴿ", "verified": "ⱽ", "reproduced": "ᴹ"}
_MEANING: dict[Badge, str] = {
    "recomputed": "every metric in its result files was recomputed from their ranks",
    "verified": "verified by its authors, as the card of its submission says",
    "reproduced": "made again by us, from nothing but what its result files say (`harness reproduce`)",
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
    return "".join(MARKS[badge] for badge in badges(entries))


def badges_note(board: Board) -> list[str]:
    """What the letters on a board mean."""
    shown = {badge for entry in board.entries for badge in badges([entry])}
    meanings = [f"{mark}: {_MEANING[badge]}" for badge, mark in MARKS.items() if badge in shown]
    return ["", f"Badges, which all results of a row have: {'; '.join(meanings)}."] if meanings else []


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
        ]
        for method, card in sorted(cards.items())
    ]
    headings = ["method", "title", "submitted by", "links", "licence", "trained on", "other data"]
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
