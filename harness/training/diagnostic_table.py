"""Diagnostic tables of a fitted method, measured on train and validation alone."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DiagnosticTable:
    """One diagnostic: a table, and a curve that is drawn from it.

    Attributes:
        title: what it shows.
        note: how to read it.
        headings: of the columns.
        rows: cells, numbers or words.
        drawn: headings of a curve's horizontal axis, of its vertical axis, and of the column that separates curves;
            None for no curve.
    """

    title: str
    note: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]
    drawn: tuple[str, str, str] | None = None
