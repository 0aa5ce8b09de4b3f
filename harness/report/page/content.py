"""What the page holds, before it is HTML: tables, figures, cards and sections."""

from dataclasses import dataclass, field

from markupsafe import Markup


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: plain text, which the template escapes, or finished markup.
        href: id of the element of the page that it links to; empty: no link.
        strong: whether it is emphasised.
    """

    text: str | Markup
    href: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: plain text.
        is_number: whether it is right-aligned and sorted by the first number of each cell.
    """

    heading: str
    is_number: bool = True


@dataclass(frozen=True)
class Table:
    """A table; the first cell of each row is its heading.

    Attributes:
        id: of its element.
        caption: says what the table holds.
        columns: headings.
        rows: a cell for each column.
    """

    id: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Figure:
    """A plot that answers a question.

    Attributes:
        id: of its element.
        question: its title.
        reading: how to read it.
        svgs: the plot, in one or several panels.
        table: its data.
    """

    id: str
    question: str
    reading: str
    svgs: tuple[Markup, ...]
    table: Table


@dataclass(frozen=True)
class Explorer:
    """Means of all methods by candidate set, slice and metric, for the table of the overview.

    Attributes:
        table: id of the table whose figures it changes.
        candidates: names of candidate sets, `full` first.
        slices: names of slices, `all` first.
        metrics: such as `ndcg@10`, the main one first.
        data: JSON, safe within a script element: for each method and each column of figures, in the order of the
            table, the means by candidate set, slice and metric in units of 0.0001; null for what was not measured.
    """

    table: str
    candidates: tuple[str, ...]
    slices: tuple[str, ...]
    metrics: tuple[str, ...]
    data: Markup


@dataclass(frozen=True)
class Card:
    """What is known of one method on one scenario.

    Attributes:
        id: of its element.
        method: its name.
        marks: what is said of it beside its name, such as `scored outside`.
        figure: NDCG@10 with its interval.
        facts: name and value.
        cautions: what to be careful about.
    """

    id: str
    method: str
    marks: tuple[str, ...]
    figure: str
    facts: tuple[tuple[str, str | Markup], ...]
    cautions: tuple[Markup, ...]


@dataclass(frozen=True)
class ScenarioPart:
    """A scenario of a suite.

    Attributes:
        id: of its element.
        name: of the scenario.
        facts: name and value.
        notes: on leakage, seeds and failed runs.
        table: its methods.
        gains: the plot of gains; None if no method's reference has results.
        cautions: that hold for every row.
        cards: one for each row.
    """

    id: str
    name: str
    facts: tuple[tuple[str, str | Markup], ...]
    notes: tuple[Markup, ...]
    table: Table
    gains: Figure | None
    cautions: tuple[Markup, ...]
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Section:
    """A section of text and tables.

    Attributes:
        id: of its element.
        title: its heading.
        body: finished markup.
    """

    id: str
    title: str
    body: Markup


@dataclass(frozen=True)
class SuitePart:
    """A suite.

    Attributes:
        id: of its element.
        title: such as `cdsr/v2`.
        summary: counts of its results.
        notes: how to read it and what it lacks.
        overview: methods by scenario.
        overview_note: what its ranks mean.
        explorer: figures for the overview.
        figures: plots of the whole suite.
        sections: further sections.
        scenarios: in order.
        failures: notes on scenarios without results.
        provenance: where it comes from.
    """

    id: str
    title: str
    summary: str
    notes: Markup
    overview: Table
    overview_note: str
    explorer: Explorer
    figures: tuple[Figure, ...]
    sections: tuple[Section, ...]
    scenarios: tuple[ScenarioPart, ...]
    failures: Markup
    provenance: Markup


@dataclass(frozen=True)
class Page:
    """The whole page.

    Attributes:
        suites: in order.
        claims: in order.
    """

    suites: tuple[SuitePart, ...]
    claims: tuple[Section, ...] = field(default=())
