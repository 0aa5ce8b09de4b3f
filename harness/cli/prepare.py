"""Preparing domains with a progress bar, and telling what was lost on the way."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import one_line

if TYPE_CHECKING:
    from rich.console import Console

    from harness.data.domain_store import Prepared
    from harness.protocol.scenario import DomainSpec
    from harness.run.splits import Domains


#: Seconds from which on a log says how long preparing a domain took.
_LONG_S = 20


def prepare_shown(console: "Console", specs: "Sequence[DomainSpec]", cache_dir: Path, data_dir: Path) -> "Domains":
    """Prepares domains and prints, for each, what was dropped and what is odd."""
    from harness.run.progress import duration, meter
    from harness.run.splits import prepare_domains

    with meter(console) as report:
        started = time.monotonic()

        def told(spec: "DomainSpec", prepared: "Prepared") -> None:
            nonlocal started
            took = time.monotonic() - started
            if prepared.fresh and not console.is_terminal and took > _LONG_S:
                console.print(f"{spec.name}: prepared in {duration(took)}")
            started = time.monotonic()
            for line in prepared.made.lines():
                console.print(one_line(f"{spec.name}: {line}"))

        return prepare_domains(
            tuple(specs),
            cache_dir / "domains",
            data_dir,
            lambda spec: lambda what, done, total: report(f"{spec.name}: {what}", done, total),
            told,
            console.print,
        )
