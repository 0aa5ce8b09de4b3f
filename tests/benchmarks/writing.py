"""Write the results of a benchmark as JSON and as a table."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_measured(
    target: Path, measured: Mapping[str, Any], about: str, table: str, remark: str, made_by: str
) -> None:
    """Write results as JSON and a table as markdown next to it.

    Args:
        target: the JSON file; the table has the suffix `.md`.
        measured: the results, with `hardware` and `packages`.
        about: a heading and a description.
        table: in markdown.
        remark: a note below the table.
        made_by: the module that ran the benchmark.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    machine = ", ".join(f"{name} {value}" for name, value in {**measured["hardware"], **measured["packages"]}.items())
    target.with_suffix(".md").write_text(
        f"# {about}\n\n{table}\n\n{remark} Machine: {machine}. Derived from `{target.name}`; made by "
        f"`python -m {made_by}`.\n",
        encoding="utf-8",
    )
