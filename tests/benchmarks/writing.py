"""What a benchmark measured, as two files: the figures, and a table for people."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_measured(
    target: Path, measured: Mapping[str, Any], about: str, table: str, remark: str, made_by: str
) -> None:
    """Writes figures as JSON and, beside them, their table as markdown.

    Args:
        target: the JSON file; the table's differs in its suffix.
        measured: with `hardware` and `packages`.
        about: a heading, and what was done.
        table: in markdown.
        remark: what a reader should know beside it.
        made_by: the module that measured.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    machine = ", ".join(f"{name} {value}" for name, value in {**measured["hardware"], **measured["packages"]}.items())
    target.with_suffix(".md").write_text(
        f"# {about}\n\n{table}\n\n{remark} Machine: {machine}. Derived from `{target.name}`; made by "
        f"`python -m {made_by}`.\n",
        encoding="utf-8",
    )
