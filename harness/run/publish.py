"""Putting results from the store where people look for them."""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from harness.errors import HarnessError
from harness.locks import Tell, locked
from harness.protocol.scenario import Suite
from harness.results.failure import FailureRecord, failure_path, write_failure
from harness.results.record import RunResult, ranks_path, write_result
from harness.run.execute import FailedRun
from harness.run.plan import Plan, Run, SkippedRun
from harness.run.store import Store


def publishing(output: Path, tell: Tell) -> AbstractContextManager[None]:
    """One command at a time writes results and boards, or reads them for a board. See `harness.locks.locked`."""
    return locked(output / ".publishing.lock", f"writing results into {output}", tell)


def publish(suite: Suite, plan: Plan, failed: Sequence[FailedRun], store: Store, results: Path) -> None:
    """Writes every planned run's result and ranks below `results`, unless the same is there already.

    Of a run that failed or was skipped, the reason is written, and what an earlier command may have had of it stays.

    Raises:
        HarnessError: a stored result is corrupt, or the folder cannot be written to.
    """
    unmade: list[tuple[Run | SkippedRun, Literal["failed", "skipped"], str]] = [
        *((each.run, "failed", each.failure.cause) for each in failed),
        *((each, "skipped", each.reason) for each in plan.skipped),
    ]
    for run, status, cause in unmade:
        write_failure(
            FailureRecord(
                suite=suite.name,
                suite_version=suite.version,
                scenario=run.scenario.name,
                method=run.method,
                seed=run.seed,
                status=status,
                cause=cause,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
            ),
            results,
        )
    lost = {failure.run for failure in failed}
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
        ranks = (folder / "ranks.parquet").read_bytes()
        if not _holds(path, raw) or not _holds(ranks_path(path), ranks):
            write_result(result, ranks, path)
        failure_path(path).unlink(missing_ok=True)


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content
