"""The command that makes leaderboards from result files."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import OUTPUT, OutputDir
from harness.errors import HarnessError


def leaderboard(
    suite: Annotated[str | None, typer.Option(help="Only this suite. Default: all with results.")] = None,
    output_dir: OutputDir = OUTPUT,
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; exit with 1 if a file is not what its results give."),
    ] = False,
    readme: Annotated[
        Path | None,
        typer.Option(
            help="Also write the overviews between `<!-- leaderboard: SUITE -->` and `<!-- end -->` in this file; "
            "SUITE is a name, or one with a version: `cdsr/v1`. Default: README.md beside the output folder, if it has "
            "any."
        ),
    ] = None,
) -> None:
    """Rebuild leaderboards and claim pages from result files, without training anything.

    Example: `harness leaderboard --check`
    """
    from harness.report.claims import claim_page, read_claims
    from harness.report.collect import Board, boards_in, collect
    from harness.report.leaderboard import leaderboard as render
    from harness.report.overview import overview
    from harness.report.readme import suites_shown, with_overviews
    from harness.run.suite import board_path
    from harness.storage.files import write_atomically

    results = output_dir / "results"
    boards = boards_in(results, suite)
    if not boards:
        of_suite = f" of suite {suite!r}" if suite else ""
        raise HarnessError(f"No results{of_suite} in {results}.", f"Run: harness run --suite {suite or 'cdsr'}.")
    default_readme = output_dir.parent / "README.md"
    readme_path = readme or default_readme
    readme_text = readme_path.read_text(encoding="utf-8") if readme is None and default_readme.is_file() else ""
    has_overviews = readme is not None or bool(suites_shown(readme_text))
    texts: dict[Path, str] = {}
    overviews: dict[str, str] = {}
    read: dict[str, Board] = {}
    for name, version in boards:  # in ascending order, so the newest version's overview is kept
        board = read[f"{name}/v{version}"] = collect(results, name, version)
        texts[board_path(output_dir, name, version)] = render(board)
        overviews[name] = overviews[f"{name}/v{version}"] = overview(board).summary.markdown
    if has_overviews:
        texts[readme_path] = with_overviews(readme_path, overviews.get)
    if suite is None:
        for path in sorted((output_dir / "claims").glob("*.yaml")):
            texts[path.with_suffix(".md")] = claim_page(read_claims(path), read.get)
    outdated = []
    for path, text in texts.items():
        same = path.is_file() and path.read_text(encoding="utf-8") == text
        if not check:
            write_atomically(path, text)
            typer.echo(str(path))
            continue
        typer.echo(f"{path}: {'as its results give' if same else 'differs from what its results give'}")
        if not same:
            outdated.append(path)
    if outdated:
        typer.echo("Run: harness leaderboard", err=True)
        raise typer.Exit(1)
