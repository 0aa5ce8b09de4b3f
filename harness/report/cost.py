"""What the training of each row cost, and what other rows reach with no more of it."""

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

from harness.report.collect import Board, Entry
from harness.report.markdown import escaped, table
from harness.report.rows import is_scored_outside
from harness.results.record import ArtefactRecord, RunResult

_HEADINGS = (
    "scenario",
    "method",
    "CPU-seconds",
    "steps",
    "prefixes of the target",
    "tokens",
    "weights trained",
    "stopped by",
    "NDCG@10",
    "best for no more CPU-seconds",
)


def cost(board: Board) -> list[str]:
    """A section with a row for each trained method of each scenario; empty if no result says what training cost."""
    body = [
        [escaped(scenario), escaped(entry.method), *_facts(entry, entries)]
        for scenario, entries in board.scenarios.items()
        for entry in sorted(entries, key=lambda entry: (cpu_seconds(entry) or 0.0, entry.method))
        if cpu_seconds(entry)
    ]
    if not body:
        return []
    return [
        "",
        "## What training cost",
        "",
        "All that a row is made from, trained from nothing, mean over seeds; components that rows share are counted in "
        "each. CPU-seconds: of all threads, on the machines of the last section. Prefixes of the target: how often a "
        "training example of the target was presented. Stopped by: `patience`, or the cap that ended a training before "
        "validation did. The last column is the view at equal cost: the best row that needed no more CPU-seconds.",
        "",
        table(_HEADINGS, body, ["left", "left", *["right"] * 5, "left", "right", "left"]),
    ]


def cpu_seconds(entry: Entry) -> float | None:
    """CPU-seconds of all trainings of a row, mean over seeds; 0 for a row without any, None if they are not known."""
    if is_scored_outside(entry):
        return None
    costs = [[artefact.cpu_s for artefact in result.cost.artefacts] for result in entry.results]
    if any(seconds is None for seed in costs for seconds in seed):
        return None
    return float(np.mean([sum(seconds or 0.0 for seconds in seed) for seed in costs]))


def _facts(entry: Entry, entries: Iterable[Entry]) -> list[str]:
    seconds, target = cpu_seconds(entry) or 0.0, entry.results[0].scenario.target
    affordable = [other for other in entries if (needed := cpu_seconds(other)) is not None and needed <= seconds]
    best = max(affordable, key=lambda other: (_ndcg(other), other.method))
    return [
        f"{seconds:,.0f}",
        _mean(entry, lambda record: record.steps),
        _mean(entry, lambda record: record.notes.get("prefixes", {}).get(target, 0)),
        _mean(entry, lambda record: record.notes.get("tokens", 0)),
        _mean(entry, lambda record: record.trainable_parameters),
        _stops(entry.results),
        f"{_ndcg(entry):.4f}",
        "–" if best is entry else f"{escaped(best.method)} {_ndcg(best):.4f}",
    ]


def _mean(entry: Entry, number: Callable[[ArtefactRecord], float]) -> str:
    """The sum over a row's trainings, mean over seeds; a dash for 0."""
    mean = float(np.mean([sum(map(number, result.training)) for result in entry.results]))
    return f"{mean:,.0f}" if mean else "–"


def _stops(results: Iterable[RunResult]) -> str:
    """What ended the trainings, with how many of them where they differ."""
    stops = Counter(
        str(record.notes["stopped_by"])
        for result in results
        for record in result.training
        if "stopped_by" in record.notes
    )
    return ", ".join(name if len(stops) == 1 else f"{name} ({count})" for name, count in sorted(stops.items())) or "–"


def _ndcg(entry: Entry) -> float:
    return entry.mean("full", "ndcg@10") or 0.0
