"""Putting results from the store where people look for them."""

import json
from pathlib import Path

from pydantic import ValidationError

from harness.errors import HarnessError
from harness.results.record import RunResult, ranks_path, users_path, write_result
from harness.run.plan import Plan
from harness.run.store import Store


def publish(plan: Plan, store: Store, results: Path) -> None:
    """Writes every planned run's result and ranks below `results`, unless the same is there already.

    Raises:
        HarnessError: a stored result is corrupt, or the folder cannot be written to.
    """
    for run in plan.runs:
        folder = store.read("run", run.key).folder
        raw = (folder / "result.json").read_bytes()
        try:
            result = RunResult.model_validate_json(raw)
        except (ValidationError, json.JSONDecodeError) as error:
            raise HarnessError(
                f"Corrupt cached result {folder}.", "Delete that folder and run the command again."
            ) from error
        path = results / result.path
        ranks, users = ((folder / name).read_bytes() for name in ("ranks.parquet", "users.parquet"))
        if not _holds(path, raw) or not _holds(ranks_path(path), ranks) or not _holds(users_path(path), users):
            write_result(result, ranks, users, path)


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content
