"""What a source reads, before any of it is prepared, and the account of what could not be used."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa

#: Columns of a chunk of interactions, in the input's order. Timestamps are Unix nanoseconds.
INTERACTIONS = pa.schema([("user_id", pa.string()), ("item_id", pa.string()), ("timestamp", pa.int64())])
#: Columns of a chunk of items.
ITEMS = pa.schema([("item_id", pa.string()), ("text", pa.string())])

#: Told while a source is read: (what is being done, how much is done, how much there is, or None if unknown).
ReadProgress = Callable[[str, int, int | None], None]


def no_read_progress(what: str, done: int, total: int | None) -> None:
    """A report to nobody."""


@dataclass
class Finding:
    """One kind of trouble: how often it was met, where first, and whether it was asked for."""

    count: int = 0
    first: str = ""
    wished: bool = False


@dataclass
class Findings:
    """What a reader met that a user should know: rows it dropped, and oddities it let pass.

    Attributes:
        dropped: reason -> rows left out for it.
        noted: oddity -> rows or items it was met in; nothing is lost by them.
    """

    dropped: dict[str, Finding] = field(default_factory=dict)
    noted: dict[str, Finding] = field(default_factory=dict)

    def drop(self, reason: str, count: int, path: Path, row: int, detail: str = "", wished: bool = False) -> None:
        """Counts rows left out; keeps the place of the first for each reason."""
        self._count(self.dropped, reason, count, f"{path} row {row}{f': {shortened(detail)}' if detail else ''}")
        self.dropped[reason].wished = wished

    @property
    def unusable(self) -> int:
        """Rows left out that nobody asked to leave out."""
        return sum(finding.count for finding in self.dropped.values() if not finding.wished)

    def note(self, oddity: str, count: int, first: str) -> None:
        """Counts an oddity that loses nothing; `first` is where it was first met, or `shortened` text of the data."""
        self._count(self.noted, oddity, count, first)

    def _count(self, findings: dict[str, Finding], reason: str, count: int, first: str) -> None:
        finding = findings.setdefault(reason, Finding(first=first))
        finding.count += count

    def lines(self) -> list[str]:
        """One line for people for each reason and oddity."""
        return [f"dropped {f.count:,} rows: {reason} (first: {f.first})" for reason, f in self.dropped.items()] + [
            f"{f.count:,} {oddity} (first: {f.first})" for oddity, f in self.noted.items()
        ]


def shortened(text: str) -> str:
    """At most 80 printable characters of a text of the data."""
    printable = "".join(c if c.isprintable() else "�" for c in text[:120])
    return printable if len(text) <= 80 else printable[:77] + "..."


@dataclass(frozen=True)
class RawDomain:
    """A domain as its source has it; read once, chunk by chunk, so that it need not fit into memory.

    Attributes:
        name: the domain's name in suites and results.
        interactions: chunks with the columns of `INTERACTIONS`; timestamps are Unix nanoseconds.
        items: given the item ids that are wanted, chunks with the columns of `ITEMS`, which may hold others too.
        findings: what reading met; complete once both were read.
        timed: whether timestamps are instants; if not, they rise in the order of each user's events.
        has_text: whether items have texts; if not, `items` is not asked.
        train_only: users of whom the source holds no event out; complete once the interactions were read.
    """

    name: str
    interactions: Iterable[pa.Table]
    items: Callable[[frozenset[str]], Iterable[pa.Table]]
    findings: Findings = field(default_factory=Findings)
    timed: bool = True
    has_text: bool = True
    train_only: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, name: str, interactions: pd.DataFrame, items: pd.DataFrame) -> "RawDomain":
        """A domain from two data frames with the columns of `INTERACTIONS` and `ITEMS`."""
        events = pa.Table.from_pandas(interactions[INTERACTIONS.names], schema=INTERACTIONS, preserve_index=False)
        catalogue = pa.Table.from_pandas(items[ITEMS.names], schema=ITEMS, preserve_index=False)
        return cls(name, [events], lambda _: [catalogue])
