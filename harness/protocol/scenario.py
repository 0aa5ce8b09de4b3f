"""Scenarios and the domains they use. Plain data; YAML is read elsewhere."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.ties import HASHED, TieOrder

if TYPE_CHECKING:  # how a domain is read decides nothing that its fingerprint does not say
    from harness.data.sources import Source


@dataclass(frozen=True)
class Scenario:
    """One target domain and the source domains that may help.

    Attributes:
        name: such as `drama-from-comedy+action`; valid as a file name.
        target: the domain whose next items are predicted.
        sources: the other domains, at least one.
        split: one of `harness.protocol.split.SPLITS`.
        overlap: `kept`, or `none` to leave each shared user in one domain only.
        overlap_seed: seed of the draw that picks this domain.
        pins: (candidates, SHA-256) pairs that sampled candidates must have.
    """

    name: str
    target: str
    sources: tuple[str, ...]
    split: str = "leave-one-out"
    overlap: str = "kept"
    overlap_seed: int = 0
    pins: tuple[tuple[str, str], ...] = ()

    @property
    def domains(self) -> tuple[str, ...]:
        """The target, then the sources."""
        return (self.target, *self.sources)


def scenario_name(target: str, sources: Sequence[str], split: str, overlap: str) -> str:
    """Name a scenario; parts that differ from the default are added: `drama-from-action+comedy.temporal.no-overlap`."""
    name = f"{target}-from-{'+'.join(sources)}"
    return name + f".{split}" * (split != "leave-one-out") + ".no-overlap" * (overlap == "none")


@dataclass(frozen=True)
class DomainSpec:
    """Where a domain comes from, and its expected content.

    Attributes:
        name: its name in the suite.
        source: how it is read.
        k_core: see `harness.data.prepare`.
        fingerprint: expected SHA-256 of the prepared content, or None where the suite does not pin it.
        folder: its data folder, or None for that of the command.
        ties: how events of one user at one instant are ordered.
    """

    name: str
    source: "Source"
    k_core: int
    fingerprint: str | None
    folder: Path | None = None
    ties: TieOrder = HASHED

    @property
    def definition(self) -> list[object]:
        """The parts of the specification that decide the content, as JSON values."""
        content: list[object] = [self.source.model_dump(mode="json"), self.k_core, self.fingerprint]
        # File order adds no entry, so older definitions stay the same; without timestamps there are no ties.
        hashed = self.ties.rule == "hashed" and self.source.timed
        return content + [asdict(self.ties)] * hashed
