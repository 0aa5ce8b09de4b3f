"""Runs the command line in another process, as from a folder outside the repository."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def harness(folder: Path, *arguments: str, packages: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run `harness` in a folder.

    Args:
        folder: the working directory.
        arguments: of the command.
        packages: a folder whose packages are installed.
    """
    path = os.pathsep.join([*([str(packages)] if packages else []), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        text=True,
        capture_output=True,
        timeout=300,
        check=False,
    )
