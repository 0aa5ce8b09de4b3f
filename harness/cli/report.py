"""The command that makes one HTML page of result files."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import OUTPUT, OutputDir, complete_suites
from harness.errors import HarnessError


def report(
    suite: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this suite (may be repeated): its name, for its newest version with results, or name/v1. "
            "Default: all versions of all suites with results, and the claims that they test.",
            autocompletion=complete_suites,
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="The .html file to write.")] = Path("report.html"),
    output_dir: OutputDir = OUTPUT,
) -> None:
    """Make one HTML page of all results: sortable tables, plots, a card a row and the claims.

    The file holds all it needs and loads nothing: send it, put it on any server, or open it from disk.

    Example: `harness report --suite cdsr --output cdsr.html`
    """
    from harness.report.claims import read_claims
    from harness.report.collect import collect
    from harness.report.folders import boards_in
    from harness.report.page import render_page
    from harness.report.sides import read_board
    from harness.storage.files import write_atomically

    if output.suffix not in (".html", ".htm"):
        raise HarnessError(f"Cannot write a page into {output}.", "End its name in .html.")
    results = output_dir / "results"
    if suite:
        boards, claims = [read_board(results, name) for name in dict.fromkeys(suite)], []
    else:
        boards = [collect(results, name, version) for name, version in boards_in(results)]
        claims = [read_claims(path) for path in sorted((output_dir / "claims").glob("*.yaml"))]
    if not boards:
        raise HarnessError(f"No results in {results}.", "Run: harness run --suite cdsr.")
    text = render_page(boards, claims)
    write_atomically(output, text)
    typer.echo(f"{output}: {len(text.encode()) / 1e6:.2f} MB")
