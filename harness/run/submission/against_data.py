"""Checks of a submitted result against the suite's data."""

from dataclasses import asdict
from pathlib import Path

from harness.errors import HarnessError
from harness.results.check import difference
from harness.results.files import items_path, read_recommendations
from harness.results.ranks_table import RankTable
from harness.results.record import DomainRecord, RunResult
from harness.results.users import CatalogueItems
from harness.run.submission.expected import ExpectedScenario
from harness.run.submission.rows import check_counts, check_items, check_users

_AGAIN = "Make the result again with the suite's data, and pack again."


def check_with_data(path: Path, result: RunResult, table: RankTable, expected: ExpectedScenario) -> None:
    """Check a result against the data of its scenario.

    Args:
        path: of the result.
        result: the result.
        table: its ranks.
        expected: its scenario, from the data.

    Raises:
        HarnessError: other data, users, held-out items, candidates, slices or leakage; the message names the row.
    """
    recorded, right = _recorded(result, expected), _expected(result, expected)
    for aspect in dict.fromkeys([*right, *recorded]):
        if recorded.get(aspect) != right.get(aspect):
            what = difference(recorded.get(aspect), right.get(aspect))
            raise HarnessError(f"{path}: {aspect}: {what}.", _AGAIN)
    _check_tuning(path, result, expected)
    check_users(path, table.users, expected.users)
    recommendations = read_recommendations(path, result, table.users)
    if recommendations is not None:
        check_items(path, CatalogueItems.from_parquet(items_path(path)), expected.items)
    check_counts(path, table, None if recommendations is None else recommendations.items, expected)


def _recorded(result: RunResult, expected: ExpectedScenario) -> dict[str, object]:
    """What a result says of its scenario and data, by aspect."""
    return {
        **result.conditions,
        "split": result.scenario.split,
        "k-core": result.scenario.k_core,
        "candidate_seed": result.candidate_seed,
        "least_recall": result.least_recall,
        "drawn candidates": {name: result.candidates[name].digest for name in expected.drawn},
        "leakage": result.leakage.model_dump(mode="json"),
        **{f"data.{name}": record.model_dump(mode="json") for name, record in result.data.items()},
    }


def _expected(result: RunResult, expected: ExpectedScenario) -> dict[str, object]:
    """What it should say."""
    suite, scenario = expected.workspace.suite, expected.scenario
    return {
        **suite.conditions(scenario, expected.workspace.fingerprints),
        "split": expected.split,
        "k-core": {name: suite.spec(name).k_core for name in scenario.domains},
        "candidate_seed": suite.candidate_seed,
        "least_recall": suite.least_recall,
        "drawn candidates": dict(expected.drawn),
        "leakage": expected.leakage.model_dump(mode="json"),
        **{
            f"data.{name}": _as_old(record, result.data[name]).model_dump(mode="json")
            for name, record in expected.data.items()
        },
    }


def _as_old(record: DomainRecord, recorded: DomainRecord) -> DomainRecord:
    """The record without an audit of ties if the other has none, as older results."""
    return record if recorded.ties else record.model_copy(update={"ties": None})


def _check_tuning(path: Path, result: RunResult, expected: ExpectedScenario) -> None:
    """Check that settings were chosen on the scenario's training data, and with the suite's budget."""
    if result.tuning is None:
        return
    budget = asdict(expected.workspace.suite.budget)
    if result.tuning.budget != budget or len(result.tuning.trials) > budget["trials"]:
        raise HarnessError(f"{path}: tuning: with another budget than the suite's.", "Run: harness tune --again.")
    for name, identity in result.tuning.data.items():
        if identity != expected.identities.get(name):
            raise HarnessError(f"{path}: tuning: on other data of {name!r}.", "Run: harness tune --again.")
