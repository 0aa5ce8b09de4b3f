"""A package outside the repository, with entry points, as pip would install it."""

from collections.abc import Mapping
from pathlib import Path

import pytest


def install(
    monkeypatch: pytest.MonkeyPatch, site: Path, module: str, source: str, entry_points: Mapping[str, str]
) -> None:
    """Installs a module for this process.

    Args:
        monkeypatch: takes the package off the import path at the end of the test.
        site: the folder of the package.
        module: its name, another in every test.
        source: its code.
        entry_points: an entry `name = module:object` by group, without the prefix `cdsr_harness.`.
    """
    metadata = site / f"{module}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / f"{module}.py").write_text(source)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    lines = [f"[cdsr_harness.{group}]\n{entry}\n" for group, entry in entry_points.items()]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(site)


def lines_of(source: str) -> int:
    """Lines of code in a source, blank ones left out."""
    return sum(bool(line.strip()) for line in source.splitlines())
