"""Generated domains between which transfer has a known effect: see `harness.data.synthetic`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from harness.data.records import RawDomain, ReadProgress, no_read_progress
from harness.data.sources.source import Source
from harness.data.synthetic import planted_tables


class PlantedDomain(Source):
    """One of the generated domains."""

    source: Literal["planted"] = "planted"
    part: str
    seed: int = 0

    def files(self, folder: Path) -> Sequence[Path]:
        """No files."""
        return ()

    def open(self, name: str, folder: Path, report: ReadProgress = no_read_progress) -> RawDomain:
        """See `Source.open`."""
        interactions, items = planted_tables(self.part, self.seed)
        nanoseconds = interactions["timestamp"] * 10**9
        return RawDomain.of(name, interactions.assign(timestamp=nanoseconds), items)
