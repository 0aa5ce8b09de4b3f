"""The records a source yields before preparation, and an account of rows that could not be used."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    import pandas as pd

#: Columns of a chunk of interactions, in the order of the input. Timestamps are Unix nanoseconds.
INTERACTIONS = pa.schema([("user_id", pa.string()), ("item_id", pa.string()), ("timestamp", pa.int64())])
#: Columns of a chunk of items.
ITEMS = pa.schema([("item_id", pa.string()), ("text", pa.string())])

#: Progress callback: (current activity, amount done, total amount or None if unknown).
ReadProgress = Callable[[str, int, int | None], None]


def no_read_progress(what: str, done: int, total: int | None) -> None:
    """No-op progress callback."""


@dataclass
class Finding:
    """Rows with one property.

    Attributes:
        count: number of rows.
        first: where the first of them is, or its text.
        intended: whether an option asks to drop such rows.
    """

    count: int = 0
    first: str = ""
    intended: bool = False


@dataclass
class Findings:
    """What a user should know about the files that were read.

    Attributes:
        dropped: reason -> dropped rows.
        noted: oddity -> rows or items that have it; none of them is lost.
    """

    dropped: dict[str, Finding] = field(default_factory=dict)
    noted: dict[str, Finding] = field(default_factory=dict)

    def drop(self, reason: str, count: int, path: Path, row: int, detail: str = "", intended: bool = False) -> None:
        """Count dropped rows; the location of the first one is kept for each reason."""
        self._add(self.dropped, reason, count, f"{path} row {row}{f': {shortened(detail)}' if detail else ''}")
        self.dropped[reason].intended = intended

    @property
    def unusable(self) -> int:
        """Number of rows dropped though no option asks for it."""
        return sum(finding.count for finding in self.dropped.values() if not finding.intended)

    def note(self, oddity: str, count: int, first: str) -> None:
        """Count an oddity; `first` is where it occurs first, or the `shortened` text of that row."""
        self._add(self.noted, oddity, count, first)

    def _add(self, findings: dict[str, Finding], reason: str, count: int, first: str) -> None:
        finding = findings.setdefault(reason, Finding(first=first))
        finding.count += count


def shortened(text: str) -> str:
    """Cut a text of the data to at most 80 printable characters."""
    printable = "".join(c if c.isprintable() else "�" for c in text[:120])
    return printable if len(text) <= 80 else printable[:77] + "..."


@dataclass(frozen=True)
class RawDomain:
    """A domain as its source yields it: chunks that are read once, so that it need not fit into memory.

    Attributes:
        name: the domain's name in suites and results.
        interactions: chunks with the columns of `INTERACTIONS`; timestamps are Unix nanoseconds.
        items: called with the item ids that are needed; yields chunks with the columns of `ITEMS`, which may contain
            other items too.
        findings: an account of the rows read; complete once both iterables are exhausted.
        timed: whether timestamps are instants. If not, they only order each user's events.
        has_text: whether items have texts; if not, `items` is not called.
        train_only: users without held-out events in the source; complete once the interactions are read.
    """

    name: str
    interactions: Iterable[pa.Table]
    items: Callable[[frozenset[str]], Iterable[pa.Table]]
    findings: Findings = field(default_factory=Findings)
    timed: bool = True
    has_text: bool = True
    train_only: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, name: str, interactions: "pd.DataFrame", items: "pd.DataFrame") -> "RawDomain":
        """A domain from two data frames with the columns of `INTERACTIONS` and `ITEMS`."""
        events = pa.Table.from_pandas(interactions[INTERACTIONS.names], schema=INTERACTIONS, preserve_index=False)
        catalogue = pa.Table.from_pandas(items[ITEMS.names], schema=ITEMS, preserve_index=False)
        return cls(name, [events], lambda _: [catalogue])
