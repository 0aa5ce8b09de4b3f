"""What the training of each row cost, alone and beyond its reference row, and what other rows reach with no more."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from harness.report.collect import Board, Entry
from harness.report.markdown import escaped
from harness.report.rows import is_scored_outside
from harness.report.tables import DASH, Cell, make_table
from harness.results.record import ArtefactCost, ArtefactRecord, EnergyRecord, RunResult

#: What decides how long a training takes, beside the code: timings of other machines cannot be compared with it.
_MACHINE = ("cpu", "cores", "gpu", "threads", "bfloat16", "system")

#: Names and values of what decides timings.
Machine = tuple[tuple[str, str], ...]
#: By seed, the keys of artefacts that do not count.
Credit = Mapping[int, frozenset[str]]


@dataclass(frozen=True)
class RowCost:
    """The cost of a row's trainings, mean over seeds.

    Attributes:
        cpu_s: CPU-seconds of all threads.
        gpu_s: wall-clock seconds of trainings on a GPU.
        tokens: tokens that language models were trained on.
    """

    cpu_s: float
    gpu_s: float
    tokens: float


def row_cost(entry: Entry, credit: Credit | None = None) -> RowCost | None:
    """The cost of a row's trainings: standalone, so with all components that it needs, or marginal.

    Args:
        entry: the row.
        credit: components that are there already; None: none, so the cost is standalone.

    Returns:
        None if it is not known: the row was scored outside, or a result is older than the records.
    """
    if is_scored_outside(entry):
        return None
    sums = []
    for result in entry.results:
        given = (credit or {}).get(result.seed, frozenset())
        costs = [artefact for artefact in result.cost.artefacts if artefact.key not in given]
        if any(artefact.cpu_s is None for artefact in costs):
            return None
        tokens = sum(record.notes.get("tokens", 0) for record in result.training if record.key not in given)
        on_gpu = [artefact.wall_s for artefact in costs if _device(artefact, result) != "cpu"]
        sums.append([sum(artefact.cpu_s or 0.0 for artefact in costs), sum(on_gpu), tokens])
    return RowCost(*np.mean(sums, axis=0).tolist())


def cpu_seconds(entry: Entry) -> float | None:
    """CPU-seconds of all trainings of a row, mean over seeds; 0 for a row without any, None if they are not known."""
    cost = row_cost(entry)
    return None if cost is None else cost.cpu_s


def marginal_cost(entry: Entry, entries: Iterable[Entry]) -> RowCost | None:
    """What a row's trainings add to those of its reference row; None if there is no other such row with its seeds."""
    references = [other for other in entries if other.method == entry.results[0].reference != entry.method]
    if not references:
        return None
    credit = {
        result.seed: frozenset(artefact.key for artefact in result.cost.artefacts) for result in references[0].results
    }
    return row_cost(entry, credit) if {result.seed for result in entry.results} <= credit.keys() else None


def machine(entry: Entry) -> Machine | None:
    """The kind of machine that a row's trainings were timed on; None for none, or for several.

    Trainings of older results do not say: then it is that of the run, and their threads are not recorded.
    """
    kinds = {
        (("device", _device(artefact, result)), *((name, hardware[name]) for name in _MACHINE if name in hardware))
        for result in entry.results
        for artefact in result.cost.artefacts
        for hardware in [artefact.hardware or result.provenance.hardware]
    }
    return kinds.pop() if len(kinds) == 1 else None


def cost(board: Board) -> list[str]:
    """A section with a table for each scenario with trained methods; empty if no result says what training cost."""
    scenarios = {
        scenario: sorted(rows, key=lambda entry: (cpu_seconds(entry) or 0.0, entry.method))
        for scenario, entries in board.scenarios.items()
        if (rows := [entry for entry in entries if cpu_seconds(entry)])
    }
    trained = [entry for rows in scenarios.values() for entry in rows]
    if not trained:
        return []
    machines = sorted({kind for entry in trained if (kind := machine(entry)) is not None})
    letters = {kind: chr(ord("A") + number) for number, kind in enumerate(machines)}
    spent = {
        scenario: [{"method": e.method, **_spent(e, board.scenarios[scenario], letters)} for e in rows]
        for scenario, rows in scenarios.items()
    }
    made = [
        {"scenario": scenario, "method": entry.method, **_made(entry)}
        for scenario, rows in scenarios.items()
        for entry in rows
    ]
    return [
        "",
        "## What training cost",
        "",
        _NOTE + (_ENERGY_NOTE if any(row["Wh"] != DASH for rows in spent.values() for row in rows) else ""),
        "",
        *(f"- {letter}: {', '.join(f'{name} {value}' for name, value in kind)}." for kind, letter in letters.items()),
        *(line for name, rows in spent.items() for line in ("", f"### Cost: {escaped(name)}", "", _table(rows))),
        "",
        "### What was trained",
        "",
        "Sums over a row's trainings, mean over seeds. Prefixes: how often a training example of the target was "
        "presented. Stopped by: `patience`, or the cap that ended a training before validation did.",
        "",
        _table(made),
    ]


_NOTE = (
    "Mean over seeds. CPU-s: CPU-seconds of all threads, for all that a row is made from, trained from nothing; "
    "components that rows share are counted in each. Added: without the components of the row's reference, such as "
    "those of `target-only`, so what the row costs whoever has that one. Best at this cost: the best row by NDCG@10 "
    "that needed no more CPU-seconds, among rows timed on the same kind of machine. Timed on: timings may be compared "
    "between rows with the same letter; a dash stands for several kinds of machines."
)
_ENERGY_NOTE = " Wh and g CO2: energy of trainings, fitting and ranking; ≈ where a part is estimated by a model."


def _table(rows: list[dict[str, str]]) -> str:
    return make_table("", list(rows[0]), [[Cell(text) for text in row.values()] for row in rows]).markdown


def _spent(entry: Entry, entries: tuple[Entry, ...], letters: Mapping[Machine, str]) -> dict[str, str]:
    whole, added = row_cost(entry), marginal_cost(entry, entries)
    assert whole is not None  # noqa: S101 - rows without a cost are left out
    watt_hours, grams = _energy(entry)
    kind = machine(entry)
    comparable = [
        other
        for other in entries
        if (needed := cpu_seconds(other)) is not None
        and needed <= whole.cpu_s
        and (not needed or machine(other) == kind)
    ]
    best = max([*comparable, entry], key=lambda other: (_ndcg(other), other.method))
    return {
        "CPU-s": f"{whole.cpu_s:,.0f}",
        "added": DASH if added is None else f"{added.cpu_s:,.0f}",
        "GPU-s": _number(whole.gpu_s),
        "GPU-s added": _number(added.gpu_s) if added and whole.gpu_s else DASH,
        "tokens": _number(whole.tokens),
        "tokens added": _number(added.tokens) if added else DASH,
        "Wh": watt_hours,
        "g CO2": grams,
        "timed on": DASH if kind is None else letters[kind],
        "best at this cost": DASH if best is entry else f"{best.method} {_ndcg(best):.4f}",
    }


def _energy(entry: Entry) -> tuple[str, str]:
    """Watt-hours and grams of CO2, mean over seeds; dashes if they were not tracked for all of the row."""
    records = [[*(a.energy for a in result.cost.artefacts), result.cost.energy] for result in entry.results]
    known = [[record for record in seed if record is not None] for seed in records]
    if [len(seed) for seed in known] != [len(seed) for seed in records]:
        return DASH, DASH
    mark = "≈ " * any(record.estimated for seed in known for record in seed)

    def shown(amount: Callable[[EnergyRecord], float]) -> str:
        return f"{mark}{np.mean([sum(map(amount, seed)) for seed in known]) * 1000:,.2f}"

    has_co2 = all(record.co2_kg is not None for seed in known for record in seed)
    return shown(lambda record: record.kwh), shown(lambda record: record.co2_kg or 0.0) if has_co2 else DASH


def _made(entry: Entry) -> dict[str, str]:
    target = entry.results[0].scenario.target
    return {
        "steps": _mean(entry, lambda record: record.steps),
        "prefixes": _mean(entry, lambda record: record.notes.get("prefixes", {}).get(target, 0)),
        "weights": _mean(entry, lambda record: record.trainable_parameters),
        "stopped by": _stops(entry.results),
    }


def _device(artefact: ArtefactCost, result: RunResult) -> str:
    return artefact.device or result.provenance.device


def _number(value: float) -> str:
    """A number without decimals; a dash for 0."""
    return f"{value:,.0f}" if value else DASH


def _mean(entry: Entry, number: Callable[[ArtefactRecord], float]) -> str:
    """The sum over a row's trainings, mean over seeds; a dash for 0."""
    return _number(float(np.mean([sum(map(number, result.training)) for result in entry.results])))


def _stops(results: Iterable[RunResult]) -> str:
    """What ended the trainings, with how many of them where they differ."""
    stops = Counter(
        str(record.notes["stopped_by"])
        for result in results
        for record in result.training
        if "stopped_by" in record.notes
    )
    return ", ".join(name if len(stops) == 1 else f"{name} ({count})" for name, count in sorted(stops.items())) or DASH


def _ndcg(entry: Entry) -> float:
    return entry.mean("full", "ndcg@10") or 0.0
