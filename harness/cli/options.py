"""Options that several commands share, and their completion."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

OutputDir = Annotated[
    Path, typer.Option(help="Where results and leaderboards go.", envvar="HARNESS_OUTPUT", file_okay=True)
]


_CACHE_VARIABLE = "HARNESS_CACHE"


def _share_cache(folder: Path) -> Path:
    """Let worker processes, and what is cached outside of runs, use the same folder."""
    os.environ[_CACHE_VARIABLE] = str(folder)
    return folder


@contextmanager
def cache_of_one_command() -> Iterator[None]:
    """Forget the cache folder that a command shared when it ends, as a process may run several."""
    before = os.environ.get(_CACHE_VARIABLE)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_CACHE_VARIABLE, None)
        else:
            os.environ[_CACHE_VARIABLE] = before


CacheDir = Annotated[
    Path,
    typer.Option(
        help="Where prepared data and trained artefacts are kept.", envvar=_CACHE_VARIABLE, callback=_share_cache
    ),
]
DataDir = Annotated[Path, typer.Option(help="Where the data sets' files are.", envvar="CDSR_DATA")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text.")]

OUTPUT, CACHE, DATA = Path("leaderboards"), Path(".harness"), Path("data")


def complete_suites(incomplete: str) -> list[str]:
    """Complete names of built-in suites."""
    folder = Path(__file__).parents[1] / "suites"
    return sorted(path.name for path in folder.glob(f"{incomplete}*") if any(path.glob("v*.yaml")))


def complete_methods(incomplete: str) -> list[str]:
    """Complete names of installed methods."""
    from harness.errors import HarnessError
    from harness.methods.registry import method_names

    try:
        return [name for name in method_names() if name.startswith(incomplete)]
    except HarnessError:  # completion prints no errors
        return []


def complete_datasets(incomplete: str) -> list[str]:
    """Complete names of data sets."""
    from harness.datasets import dataset_names

    return [name for name in dataset_names() if name.startswith(incomplete)]


SuiteName = Annotated[
    str, typer.Option(help="Name of a suite, or path of a .yaml file.", autocompletion=complete_suites)
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        help="Only this method (may be repeated): its name, or a file and a name in it, as in ./my_method.py:Markov.",
        autocompletion=complete_methods,
    ),
]
AllMethods = Annotated[bool, typer.Option("--all", help="Also the suite's `more_methods`.")]
Scenarios = Annotated[list[str] | None, typer.Option(help="Only this scenario (may be repeated).")]
Seeds = Annotated[list[int] | None, typer.Option(help="Only this seed (may be repeated).", min=0)]
Jobs = Annotated[
    int | None,
    typer.Option(
        help="Worker processes; 0: work in this process. Default: one a core as memory allows; one a GPU.", min=0
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto: cuda where there is one.")]


class OnErrorChoice(StrEnum):
    """What happens to the other runs when one fails."""

    GO_ON = "go-on"
    STOP = "stop"


OnError = Annotated[
    OnErrorChoice,
    typer.Option("--on-error", help="When a run fails: go on with the others and exit with 1, or stop all."),
]
