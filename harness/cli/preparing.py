"""Preparing domains with a progress bar, and telling what was lost on the way."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from harness.data.store import Prepared
    from harness.protocol.scenario import DomainSpec
    from harness.run.opening import Domains


def prepare_shown(console: "Console", specs: "Sequence[DomainSpec]", cache_dir: Path, data_dir: Path) -> "Domains":
    """Prepares domains and prints, for each, what was dropped and what is odd."""
    from harness.run.opening import prepare_domains
    from harness.run.progress import meter

    with meter(console) as report:

        def told(spec: "DomainSpec", prepared: "Prepared") -> None:
            for line in prepared.made.lines():
                # No markup: ids and texts may hold brackets.
                console.print(f"{spec.name}: {line}", markup=False)

        return prepare_domains(
            tuple(specs),
            cache_dir / "domains",
            data_dir,
            lambda spec: lambda what, done, total: report(f"{spec.name}: {what}", done, total),
            told,
        )
