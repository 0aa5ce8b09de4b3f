"""Checks of results: whether a result agrees with its ranks, and how two results differ."""

import re
from collections.abc import Mapping

from harness.protocol.scenario import scenario_name
from harness.protocol.split import SPLITS
from harness.results.ranks_table import RankTable
from harness.results.record import RunResult

_SPLIT = re.compile(
    rf"({'|'.join(sorted(set(SPLITS) - {'temporal'}, key=len, reverse=True))})|temporal(/\d{{1,11}}(\.\d{{1,9}})?){{2}}"
)


def contradiction(result: RunResult, table: RankTable) -> str | None:
    """A contradiction within a result, or between a result and its ranks, in words; None if there is none."""
    scenario, target = result.scenario, result.data.get(result.scenario.target)
    domains = {scenario.target, *scenario.sources}
    rows = {len(members) for members in table.slices.values()}
    split = scenario.split.partition("/")[0]
    if not _SPLIT.fullmatch(scenario.split):
        return f"scenario.split: there is no split {scenario.split!r}"
    if scenario.name != scenario_name(scenario.target, scenario.sources, split, scenario.overlap):
        return f"scenario: {scenario.name!r} does not match its target, sources, split and overlap"
    if target is None or set(result.data) != domains or set(scenario.k_core) != domains:
        return "data: not the domains of the scenario"
    if not set(result.learns_from) <= domains:
        return "learns_from: not the domains of the scenario"
    if rows != {len(table.users)}:
        return f"{len(table.users)} users, but {max(rows)} rows of ranks"
    if result.slices != {name: int(members.sum()) for name, members in table.slices.items()}:
        return "slices: not those of the ranks"
    if result.left_out != target.users - len(table.users):
        return "left_out: not the target's users without the test users"
    if {name for name, record in result.candidates.items() if record.metrics is not None} != set(table.ranks):
        return "candidates: not those of the ranks"
    if not {"trials", "epochs", "patience"} <= set(result.budget):
        return "budget: trials, epochs or patience is missing"
    return None


def difference(value: object, expected: object) -> str:
    """How one of a result's conditions differs from the expected one, in a few words."""
    if isinstance(value, dict) and isinstance(expected, dict):
        name = next(name for name in (*value, *expected) if value.get(name) != expected.get(name))
        return f"{name}: {difference(value.get(name), expected.get(name))}"
    if isinstance(value, list) and isinstance(expected, list):
        value, expected = ([part for part in a if part not in b] for a, b in ((value, expected), (expected, value)))
    return f"{_short(value)} instead of {_short(expected)}"


def metric_difference(
    recorded: Mapping[str, Mapping[str, float | None]], recomputed: Mapping[str, Mapping[str, float | None]]
) -> str | None:
    """The first difference of two mappings of slice -> metric -> mean, in words; None if there is none.

    Only metrics that both have are compared: a result may be older or newer than a metric or a cutoff.
    """
    for name in sorted(recorded.keys() | recomputed.keys()):
        if name not in recorded or name not in recomputed:
            return f"{name}: {'missing' if name in recomputed else 'no slice of the ranks'}"
        for metric in sorted(recorded[name].keys() & recomputed[name].keys()):
            a, b = recorded[name][metric], recomputed[name][metric]
            # Summation order may differ between machines in the last bits.
            if (a is None) != (b is None) or not abs((a or 0) - (b or 0)) < 1e-9:
                return f"{name}: {metric}: {a} instead of {b}"
    return None


def _short(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "nothing"
    return value[:12] if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) else str(value)
