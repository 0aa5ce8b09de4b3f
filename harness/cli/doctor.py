"""The command that checks this machine and installation."""

import json
from dataclasses import asdict

import typer

from harness.cli.options import CACHE, DATA, CacheDir, DataDir, Json
from harness.errors import one_line


def doctor(cache_dir: CacheDir = CACHE, data_dir: DataDir = DATA, as_json: Json = False) -> None:
    """Check Python, packages, threads, GPU, memory, disk, data, plug-ins and cache; say how to fix what is wrong.

    Exits with 1 if there is a problem that must be fixed. A warning leaves the harness usable.

    Example: `harness doctor`
    """
    from harness.run.doctor import examine

    findings = []
    for finding in examine(cache_dir, data_dir):
        findings.append(finding)
        if not as_json:
            fix = f". Fix: {finding.fix}" if finding.fix else ""
            typer.echo(one_line(f"{finding.outcome:<8} {finding.about}: {finding.text.rstrip('.')}{fix}"))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    if any(finding.outcome == "problem" for finding in findings):
        raise typer.Exit(1)
