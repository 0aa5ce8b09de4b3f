"""Commands for authors of methods, merging rules and metrics."""

import json
from dataclasses import asdict
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import Device, Json, SuiteName, complete_methods


class PackageKind(StrEnum):
    """What a new package offers."""

    METHOD = "method"
    RULE = "rule"
    METRIC = "metric"


def check_method(
    method: Annotated[
        str,
        typer.Argument(
            help="A method's name, a variant of the suite, or a file and a name in it, as in ./my_method.py:Markov.",
            autocompletion=complete_methods,
        ),
    ],
    suite: SuiteName = "cdsr-smoke",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Check that a method keeps the rules: determinism, shapes, no view of test events, and others.

    Fits the method a few times on two small synthetic domains. Exits with 1 if a check fails.

    Example: `harness check-method ./my_method.py:Markov`
    """
    from harness.methods import conformance
    from harness.run.methods import select_methods, suite_method
    from harness.run.progress import make_console
    from harness.suites import load_suite
    from harness.training.device import pick_device

    console = make_console(stderr=as_json)
    selected, (name,) = select_methods(load_suite(suite), [method])
    suite_method(selected, name)  # what cannot be made at all is an error of its own
    checks = conformance.check_method(partial(suite_method, selected, name), pick_device(device))
    if as_json:
        typer.echo(json.dumps({"method": name, "checks": list(map(asdict, checks))}, indent=1))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            console.print(f"{check.outcome:<8} {check.name:<{width}}  {check.reason}".rstrip())
    if any(check.outcome == "failed" for check in checks):
        raise typer.Exit(1)


def new(
    kind: Annotated[PackageKind, typer.Argument(help="What the package offers.")],
    name: Annotated[str, typer.Argument(help="Its name, such as my-method.")],
) -> None:
    """Write a small package with a method, a merging rule or a metric, and a test that passes.

    Example: `harness new method my-method`
    """
    from harness.methods.scaffold import write_package

    folder = write_package(kind, name, Path())
    for path in sorted(folder.iterdir()):
        typer.echo(str(path))
    typer.echo(f"Next: pip install -e {folder} && pytest {folder}")
