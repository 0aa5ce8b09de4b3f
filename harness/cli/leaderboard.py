"""The command that makes leaderboards from result files."""

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import CACHE, OUTPUT, CacheDir, OutputDir
from harness.errors import HarnessError


class Format(StrEnum):
    """How a leaderboard is printed."""

    MARKDOWN = "markdown"
    CSV = "csv"
    LATEX = "latex"
    JSON = "json"


def leaderboard(
    suite: Annotated[
        str | None,
        typer.Option(help="Only this suite; with --format or --metric also one version, as in cdsr/v2. Default: all."),
    ] = None,
    output_dir: OutputDir = OUTPUT,
    cache_dir: CacheDir = CACHE,
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
    form: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="Print the board of one suite and write nothing: a page (markdown), tables (latex), or one row for "
            "each scenario, method, candidate set, slice and metric with full precision (csv, json).",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Print the board of one suite by this metric, with its cutoff; csv and json take several. "
            "Default: ndcg@10; for csv and json all that the board shows."
        ),
    ] = None,
) -> None:
    """Rebuild leaderboards and claim pages from result files, without training anything, or print one board.

    Examples:

    - `harness leaderboard` writes all leaderboards

    - `harness leaderboard --check` tells whether they are up to date

    - `harness leaderboard --suite cdsr --metric hr@20` prints a board by another metric

    - `harness leaderboard --suite cdsr --format csv > cdsr.csv` prints one long table
    """
    if not form and not metric:
        _write(output_dir, cache_dir, suite, check, readme)
        return
    if check or readme:
        raise HarnessError("--format and --metric print a board and write nothing.", "Leave out --check and --readme.")
    typer.echo(_printed(output_dir / "results", suite, form or Format.MARKDOWN, metric or ()), nl=False)


def _printed(results: Path, suite: str | None, form: Format, metrics: Sequence[str]) -> str:
    """One board as text.

    Raises:
        HarnessError: no suite or an unknown one, an unknown metric, or several for one page.
    """
    from dataclasses import asdict

    from harness.protocol.metrics import find_list_metric, find_metric, is_list_metric
    from harness.report.board_rows import board_metrics, board_rows, rows_csv
    from harness.report.comparison import MAIN
    from harness.report.latex import latex
    from harness.report.leaderboard import leaderboard as render
    from harness.report.reference import reference_row
    from harness.report.sides import read_board

    is_page = form in (Format.MARKDOWN, Format.LATEX)
    for metric in metrics:
        (find_list_metric if is_list_metric(metric) else find_metric)(metric)  # refuses unknown ones
        if is_page and is_list_metric(metric):
            raise HarnessError(f"{metric} is a metric of lists, and orders no rows.", "Add --format csv or json.")
    if is_page and len(metrics) > 1:
        raise HarnessError(f"A board in {form} is by one metric.", "Name one, or add --format csv or json.")
    board = read_board(results, suite)
    if is_page:
        metric = metrics[0] if metrics else MAIN[1]
        return render(board, metric) if form is Format.MARKDOWN else latex(board, metric)
    rows = board_rows(board, metrics or board_metrics())
    if form is Format.CSV:
        return rows_csv(rows)
    head = {"suite": board.suite, "version": board.version, "reference": reference_row(board)}
    return json.dumps({**head, "rows": [asdict(row) for row in rows]}, indent=1, allow_nan=False) + "\n"


def _write(output_dir: Path, cache_dir: Path, suite: str | None, check: bool, readme: Path | None) -> None:
    """Write all leaderboards, overviews and claim pages, or check them.

    Raises:
        HarnessError: there are no results, or a file cannot be read.
        Exit: a file is not what its results give.
    """
    from harness.report.cached import Reports
    from harness.report.folders import board_path, boards_in
    from harness.report.readme import suites_shown, with_overviews
    from harness.storage.files import write_atomically
    from harness.storage.store import Store

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
    reports = Reports(results, Store(cache_dir / "store"))
    for name, version in boards:  # in ascending order, so the newest version's overview is kept
        board = reports.board(name, version)
        texts[board_path(output_dir, name, version)] = board.text
        overviews[name] = overviews[f"{name}/v{version}"] = board.overview
    if has_overviews:
        texts[readme_path] = with_overviews(readme_path, overviews.get)
    if suite is None:
        for path in sorted((output_dir / "claims").glob("*.yaml")):
            texts[path.with_suffix(".md")] = reports.claim_page(path)
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
