"""Commands that pack results for a pull request, and check such a submission."""

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import CACHE, DATA, OUTPUT, CacheDir, DataDir, Json, OutputDir, complete_suites
from harness.errors import HarnessError, one_line

if TYPE_CHECKING:
    from harness.run.submission import CheckedSubmission

_SuiteFile = Annotated[
    str | None,
    typer.Option("--suite", help="File of the suite, if it is none of the harness's.", autocompletion=complete_suites),
]


class DataChoice(StrEnum):
    """Whether to compare a submission with the suite's data."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    SKIP = "skip"


_Data = Annotated[
    DataChoice,
    typer.Option(
        "--data", help="Compare users, test items and slices with the suite's data: fail without them, or say so."
    ),
]


def submit(
    results: Annotated[list[Path], typer.Argument(help="Result files of one method on one suite, all seeds.")],
    card: Annotated[Path, typer.Option(help="YAML file that says who submits what; see docs/submitting.md.")],
    suite: _SuiteFile = None,
    data: _Data = DataChoice.REQUIRED,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an earlier submission of the method.")] = False,
    output_dir: OutputDir = OUTPUT,
    cache_dir: CacheDir = CACHE,
    data_dir: DataDir = DATA,
    as_json: Json = False,
) -> None:
    """Pack results into a folder for a pull request, after checking them as the pull request will be.

    Example: `harness submit leaderboards/results/cdsr/v2/*/my-model-seed*.json --card card.yaml`
    """
    from harness.run.progress import make_console, show_progress
    from harness.run.submission import pack_submission

    with show_progress(make_console(stderr=True)) as progress:
        packed = pack_submission(
            results,
            card,
            output_dir=output_dir,
            cache_dir=cache_dir,
            data_dir=data_dir,
            suite=suite,
            data=data.value,
            replace=replace,
            progress=progress,
        )
    if as_json:
        typer.echo(json.dumps({**asdict(packed.checked), "folder": str(packed.folder)}, indent=1, default=str))
        return
    typer.echo(_line(packed.checked, packed.folder))
    typer.echo(f"Open a pull request that adds {packed.folder}, and nothing else.")


def check_submission(
    folders: Annotated[list[Path] | None, typer.Argument(help="Folders of submissions.", show_default=False)] = None,
    changed: Annotated[
        Path | None,
        typer.Option(
            help="File with the paths that a pull request changes, each ended by a zero byte: check their submissions "
            "instead of named ones."
        ),
    ] = None,
    root: Annotated[Path, typer.Option(help="Where the paths of --changed start.")] = Path(),
    suite: _SuiteFile = None,
    data: _Data = DataChoice.REQUIRED,
    output_dir: OutputDir = OUTPUT,
    cache_dir: CacheDir = CACHE,
    data_dir: DataDir = DATA,
    as_json: Json = False,
) -> None:
    """Check submissions: files, digests, every metric from the ranks, users and test items from the data.

    Runs no code of a submission. Prints the first fault of each in one line, and exits with 2 if there is any.

    Example: `harness check-submission leaderboards/submissions/cdsr/v2/my-model`
    """
    from harness.run.progress import make_console, show_progress
    from harness.run.submission import check_submission as check
    from harness.run.submission.changed import changed_submissions
    from harness.suites import load_suite

    if bool(folders) == bool(changed):
        raise HarnessError("Give folders or --changed.", "See harness check-submission --help.")
    checked: list[CheckedSubmission] = []
    faults: dict[str, str] = {}
    loaded = None if suite is None else load_suite(suite)
    with show_progress(make_console(stderr=True)) as progress:
        for folder in changed_submissions(changed, root) if changed else folders or []:
            try:
                checked.append(
                    check(
                        folder,
                        output_dir=output_dir,
                        cache_dir=cache_dir,
                        data_dir=data_dir,
                        suite=loaded,
                        data=data.value,
                        progress=progress,
                    )
                )
            except HarnessError as error:
                faults[str(folder)] = str(error)
    if as_json:
        typer.echo(json.dumps({"checked": [asdict(each) for each in checked], "faults": faults}, indent=1, default=str))
    else:
        for each in checked:
            typer.echo(_line(each, each.folder))
    for fault in faults.values():
        typer.echo(f"harness: {fault}", err=True)
    if faults:
        raise typer.Exit(2)


def _line(checked: "CheckedSubmission", folder: Path) -> str:
    """What was checked, in words."""
    why = checked.not_compared
    compared = "users, test items and slices are those of the data" if why is None else f"NOT compared with data: {why}"
    return one_line(
        f"{folder}: {checked.method} on {checked.suite}, {checked.results} results with {checked.rows:,} rows: "
        f"metrics recomputed from ranks; {compared}."
    )
