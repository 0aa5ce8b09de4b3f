"""Checks of a submitted result that need no raw data: what its suite pins, and the results that it joins."""

from pathlib import Path

from harness.errors import HarnessError
from harness.protocol.suite import Suite
from harness.report.collect import check_slices, shared_conditions
from harness.results.check import difference
from harness.results.failure import is_failure
from harness.results.files import read_result
from harness.results.ranks_table import RankTable
from harness.results.record import RunResult
from harness.run.submission.rows import check_users
from harness.suites import pick_scenarios

_AGAIN = "Make the result again with this suite and its data, and pack again."


def check_pinned_conditions(path: Path, result: RunResult, suite: Suite) -> None:
    """Check a result against all that its suite's file says of data, split, candidates and budget.

    Raises:
        HarnessError: they differ.
    """
    (scenario,) = pick_scenarios(suite, [result.scenario.name])
    made_with = {name: record.fingerprint for name, record in result.data.items()}
    pinned = {name: suite.spec(name).fingerprint or made_with.get(name, "") for name in scenario.domains}
    recorded = {**result.conditions, "digests": {name: result.candidates[name].digest for name, _ in scenario.pins}}
    expected = {**suite.conditions(scenario, pinned), "digests": dict(scenario.pins)}
    for aspect in dict.fromkeys([*expected, *recorded]):
        if recorded.get(aspect) != expected.get(aspect):
            what = difference(recorded.get(aspect), expected.get(aspect))
            raise HarnessError(f"{path}: {aspect}: {what}.", _AGAIN)


def check_beside_board(path: Path, result: RunResult, table: RankTable, output_dir: Path) -> None:
    """Check that a result can stand beside those of its scenario that are there already.

    Raises:
        HarnessError: other data, users, held-out items or slices than theirs; the message names the row.
    """
    folder = (output_dir / "results" / result.path).parent
    others = sorted(other for other in folder.glob("*.json") if not is_failure(other) and other.name != path.name)
    if not others:
        return
    other, other_table = read_result(others[0])
    check_users(path, table.users, other_table.users)
    conditions, expected = shared_conditions(result), shared_conditions(other)
    for aspect, value in conditions.items():
        if value != expected[aspect]:
            raise HarnessError(f"{path}: {aspect}: {difference(value, expected[aspect])}, as in {others[0]}.", _AGAIN)
    check_slices(path, table, others[0], other_table)
