"""Generated domains in which transfer helps, harms or does nothing by known amounts: see `harness.data.synthetic`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from harness.data.records import RawDomain, ReadProgress, no_read_progress
from harness.data.sources.source import Source
from harness.data.synthetic import planted_tables


class PlantedDomain(Source):
    """One of the planted domains; made, not read."""

    source: Literal["planted"] = "planted"
    part: str
    seed: int = 0

    def files(self, folder: Path) -> Sequence[Path]:
        """None."""
        return ()

    def open(self, name: str, folder: Path, report: ReadProgress = no_read_progress) -> RawDomain:
        """See `Source.open`."""
        interactions, items = planted_tables(self.part, self.seed)
        nanoseconds = interactions["timestamp"] * 10**9
        return RawDomain.of(name, interactions.assign(timestamp=nanoseconds), items)
