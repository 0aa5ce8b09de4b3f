"""Putting results from the store where people look for them."""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from harness.errors import HarnessError
from harness.protocol.scenario import Suite
from harness.results.failure import FailureRecord, failure_path, write_failure
from harness.results.record import RunResult, ranks_path, users_path, write_result
from harness.run.execute import FailedRun
from harness.run.plan import Plan, Run, SkippedRun
from harness.storage.locks import Tell, locked
from harness.storage.store import Store


def publishing(output: Path, tell: Tell) -> AbstractContextManager[None]:
    """One command at a time writes results and boards, or reads them for a board."""
    return locked(output / ".publishing.lock", f"writing results into {output}", tell)


def publish(plan: Plan, store: Store, results: Path, failed: Sequence[FailedRun] = ()) -> None:
    """Writes every planned run's result and ranks below `results`, unless the same is there already.

    Args:
        plan: what was asked for.
        store: where the results are.
        results: the folder they go to.
        failed: runs of the plan that have none. What an earlier command may have published of them stays.

    Raises:
        HarnessError: a stored result is corrupt, or the folder cannot be written to.
    """
    lost = {each.run for each in failed}
    for run in (run for run in plan.runs if run not in lost):
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
        failure_path(path).unlink(missing_ok=True)


def record_failures(suite: Suite, plan: Plan, failed: Sequence[FailedRun], results: Path) -> None:
    """Writes why runs failed or were skipped, each beside the place of its result; the next success removes it."""
    unmade: list[tuple[Run | SkippedRun, Literal["failed", "skipped"], str]] = [
        *((each.run, "failed", each.failure.cause) for each in failed),
        *((each, "skipped", each.reason) for each in plan.skipped),
    ]
    for run, status, cause in unmade:
        record = FailureRecord(
            suite=suite.name,
            suite_version=suite.version,
            scenario=run.scenario.name,
            method=run.method,
            seed=run.seed,
            status=status,
            cause=cause,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        write_failure(record, results)


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content
