"""Copies results from the store into the output folder."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from harness.protocol.suite import Suite
from harness.results.failure import FailureRecord, failure_path, write_failure
from harness.results.files import publish_result
from harness.run.execute import FailedRun
from harness.run.plan import Plan, Run, SkippedRun
from harness.run.workspace import Workspace
from harness.storage.locks import Tell, locked


def publishing(output: Path, tell: Tell) -> AbstractContextManager[None]:
    """Lock the output folder: one command at a time writes results and boards there."""
    return locked(output / ".publishing.lock", f"writing results into {output}", tell)


def publish(workspace: Workspace, plan: Plan, results: Path, failed: Sequence[FailedRun] = ()) -> None:
    """Write the result, ranks and lists of every planned run that is done, unless the same are there already.

    For a run that failed or was skipped, write the reason in its place; the next success removes it.

    Args:
        workspace: the suite and the store that holds the results.
        plan: the planned runs.
        results: the results folder.
        failed: runs of the plan without a result. An earlier result of theirs stays.

    Raises:
        HarnessError: a stored result is corrupt, or the folder cannot be written to.
    """
    for run in (run for run in plan.runs if workspace.store.has("run", run.key)):
        result = publish_result(workspace.store.read("run", run.key).folder, results)
        failure_path(results / result.path).unlink(missing_ok=True)
    for each in failed:
        _write_failure(workspace.suite, each.run, "failed", each.failure.cause, results)
    for skipped in plan.skipped:
        _write_failure(workspace.suite, skipped, "skipped", skipped.reason, results)


def _write_failure(
    suite: Suite, run: Run | SkippedRun, status: Literal["failed", "skipped"], cause: str, results: Path
) -> None:
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
