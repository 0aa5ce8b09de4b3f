"""How two results of one run compare: ranks, metrics, lists, trainings, and what they were made with."""

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from harness.protocol.ranks import MISSED, Ranks
from harness.protocol.recommendations import Recommendations
from harness.results.ranks_table import RankTable
from harness.results.record import ArtefactRecord, RunResult
from harness.results.reproduction import ArtefactMatch, ListsMatch, RanksMatch

_NOTHING_EQUAL = RanksMatch(
    equal_users=0, largest_rank_difference=None, largest_metric_difference=1, largest_slice_difference=1
)


def match_ranks(first: RankTable, again: RankTable) -> dict[str, RanksMatch]:
    """How ranks compare, by candidate set; one that only one of the tables has matches in nothing.

    Args:
        first: ranks of a run.
        again: ranks of the same run made again, of the same users in the same order.
    """
    return {
        name: _match(first, again, name) if name in first.ranks and name in again.ranks else _NOTHING_EQUAL
        for name in dict.fromkeys([*first.ranks, *again.ranks])
    }


def _match(first: RankTable, again: RankTable, name: str) -> RanksMatch:
    a, b = first.ranks[name], again.ranks[name]
    both = (a.above != MISSED) & (b.above != MISSED)
    differences = np.abs((a.above - b.above) + (a.tied - b.tied) / 2)[both]
    by_slice = _metric_differences(first.metrics(name), again.metrics(name))
    return RanksMatch(
        equal_users=float(_equal(a, b).mean()),
        largest_rank_difference=float(differences.max()) if len(differences) else None,
        largest_metric_difference=by_slice["all"],
        largest_slice_difference=max(by_slice.values()),
    )


def _equal(a: Ranks, b: Ranks) -> NDArray[np.bool_]:
    chances = [np.ones(len(ranks.above)) if ranks.chance is None else ranks.chance for ranks in (a, b)]
    return np.asarray(
        (a.above == b.above) & (a.tied == b.tied) & (a.candidates == b.candidates) & (chances[0] == chances[1])
    )


def _metric_differences(
    a: Mapping[str, Mapping[str, float | None]], b: Mapping[str, Mapping[str, float | None]]
) -> dict[str, float]:
    """The largest difference of each slice's metrics; 1 where only one has the slice, or users in it."""
    largest = {}
    for name in a.keys() | b.keys():
        pairs = [(a.get(name, {}).get(metric), b.get(name, {}).get(metric)) for metric in {**a["all"], **b["all"]}]
        both_empty = all(x is None and y is None for x, y in pairs) and name in a and name in b
        gaps = [1.0 if x is None or y is None else abs(x - y) for x, y in pairs]
        largest[name] = 0.0 if both_empty else max(gaps)
    return largest


def match_lists(first: Recommendations | None, again: Recommendations | None) -> ListsMatch | None:
    """How recommendation lists over one catalogue compare; None if one of the runs kept none."""
    if first is None or again is None:
        return None
    a, b = first.items, again.items
    common = sum(len(np.intersect1d(x[x >= 0], y[y >= 0])) for x, y in zip(a, b, strict=True))
    listed = max(int((a >= 0).sum()), int((b >= 0).sum()))
    return ListsMatch(equal_users=float((a == b).all(axis=1).mean()), common_items=common / listed if listed else 1.0)


def match_artefacts(
    first: Collection[ArtefactRecord], again: Collection[ArtefactRecord], cached: Collection[str]
) -> tuple[ArtefactMatch, ...]:
    """How trainings compare, by their labels.

    Args:
        first: of a run.
        again: of the same run made again.
        cached: keys of artefacts that it took from a cache.
    """
    before = {record.label: record for record in first}
    return tuple(_match_artefact(before.get(record.label), record, record.key in cached) for record in again)


def _match_artefact(before: ArtefactRecord | None, record: ArtefactRecord, is_cached: bool) -> ArtefactMatch:
    curves = (before.validation if before else (), record.validation)
    same_length = before is not None and len(curves[0]) == len(curves[1])
    gaps = [abs(x - y) for x, y in zip(*curves, strict=True)] if same_length else []
    return ArtefactMatch(
        label=record.label,
        trained=not is_cached,
        same_key=before is not None and before.key == record.key,
        same_steps=before is not None and (before.steps, before.best_step) == (record.steps, record.best_step),
        largest_validation_difference=max(gaps, default=0.0) if same_length else None,
    )


def differences_between(first: RunResult, again: RunResult) -> dict[str, str]:
    """What two results were made with that differs, in words, by name."""
    pairs = {
        "code version": (first.code.version, again.code.version),
        "code": (first.code.source[:12], again.code.source[:12]),
        "commit": (first.provenance.commit, again.provenance.commit),
        "device": (first.provenance.device, again.provenance.device),
        **_pairs("package ", first.packages, again.packages),
        **_pairs("machine: ", first.provenance.hardware, again.provenance.hardware),
        **_pairs("settings: ", first.settings, again.settings),
        **_pairs("file ", first.content, again.content),
        **_pairs("budget: ", first.budget, again.budget),
        **_pairs("data: ", _fingerprints(first), _fingerprints(again)),
        "split": (first.scenario.split, again.scenario.split),
        "tuning": ("tuned" if first.tuning else "not tuned", "tuned" if again.tuning else "not tuned"),
    }
    return {name: f"{a} then, {b} now" for name, (a, b) in pairs.items() if a != b}


def _fingerprints(result: RunResult) -> dict[str, str]:
    return {name: record.fingerprint[:12] for name, record in result.data.items()}


def _pairs(prefix: str, a: Mapping[str, object], b: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    return {f"{prefix}{name}": (a.get(name, "none"), b.get(name, "none")) for name in dict.fromkeys([*a, *b])}
