"""The command that prints JSON Schemas of the harness's files."""

from pathlib import Path
from typing import Annotated

import typer

from harness.errors import HarnessError


def schema(
    name: Annotated[str | None, typer.Argument(help="Kind of file. Without it, all kinds are listed.")] = None,
    fields: Annotated[bool, typer.Option("--fields", help="Print tables of the fields (markdown) instead.")] = False,
    output_dir: Annotated[Path | None, typer.Option(help="Write all schemas into this folder instead.")] = None,
) -> None:
    """Print the JSON Schema of a kind of file, or the names of all kinds.

    Examples: `harness schema result > result.schema.json`, `harness schema --output-dir docs/schemas`
    """
    from harness.report.schemas import FILE_KINDS, field_tables, file_kind, schema_text, write_schemas

    if output_dir is not None:
        if name is not None:
            raise HarnessError("--output-dir takes all schemas.", "Leave out the name, or the option.")
        for path in write_schemas(output_dir):
            typer.echo(str(path))
    elif name is not None:
        kind = file_kind(name)
        typer.echo(field_tables(kind) if fields else schema_text(kind), nl=False)
    else:
        for kind in FILE_KINDS:
            typer.echo(f"{kind.name}  {kind.title}, version {kind.version}")
