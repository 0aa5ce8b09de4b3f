"""Putting results from the store where people look for them."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from harness.protocol.scenario import Suite
from harness.results.failure import FailureRecord, failure_path, write_failure
from harness.results.files import publish_result
from harness.run.execute import FailedRun
from harness.run.plan import Plan, Run, SkippedRun
from harness.storage.locks import Tell, locked
from harness.storage.store import Store


def publishing(output: Path, tell: Tell) -> AbstractContextManager[None]:
    """One command at a time writes results and boards, or reads them for a board."""
    return locked(output / ".publishing.lock", f"writing results into {output}", tell)


def publish(plan: Plan, store: Store, results: Path, failed: Sequence[FailedRun] = ()) -> None:
    """Writes every planned run's result, ranks and lists below `results`, unless the same are there already.

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
        result = publish_result(store.read("run", run.key).folder, results)
        failure_path(results / result.path).unlink(missing_ok=True)


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
