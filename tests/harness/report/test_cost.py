"""The section on what training cost."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from harness.report.collect import Board, Entry, collect
from harness.report.cost import RowCost, cost, cpu_seconds, machine, marginal_cost, row_cost
from harness.results.record import ArtefactCost, ArtefactRecord, EnergyRecord
from tests.harness.report.test_leaderboard import run_all

ENERGY = EnergyRecord(
    tracker="codecarbon 9.9",
    cpu_kwh=0.001,
    gpu_kwh=0.0,
    ram_kwh=0.0005,
    estimated=("ram",),
    shared=("cpu", "ram"),
    seconds=1.0,
    country="DEU",
    co2_kg=0.002,
)


def trained(
    entry: Entry,
    cpu_s: float | None,
    stopped_by: str = "patience",
    key: str = "k",
    reference: str | None = None,
    energy: EnergyRecord | None = None,
    more: Mapping[str, float] = {},
    **cost_fields: Any,
) -> Entry:
    """An entry whose results used one training each, and more of the given CPU-seconds by key."""
    notes = {"prefixes": {entry.results[0].scenario.target: 300, "other": 7}, "tokens": 2000, "stopped_by": stopped_by}
    seconds = {key: cpu_s, **more}
    records = tuple(
        ArtefactRecord(
            kind="lora",
            label="a",
            key=each,
            validation=(0.1,),
            steps=40,
            best_step=30,
            trainable_parameters=5,
            notes=notes,
        )
        for each in seconds
    )
    spent = tuple(
        ArtefactCost(label="a", key=each, wall_s=1, cpu_s=s, peak_memory_mb=1, energy=energy, **cost_fields)
        for each, s in seconds.items()
    )
    results = [
        result.model_copy(
            update={
                "training": records,
                "reference": reference,
                "cost": result.cost.model_copy(update={"artefacts": spent, "energy": energy}),
            }
        )
        for result in entry.results
    ]
    return replace(entry, results=tuple(results))


@pytest.fixture
def board(toy, tmp_path_factory: pytest.TempPathFactory) -> Board:
    """A board without trainings, computed once per session."""
    results = tmp_path_factory.getbasetemp() / "results-without-trainings"
    if not results.exists():
        shutil.copytree(run_all(toy, ("popularity", "fixed", "markov")), results)
    return collect(results, "toy", 1)


def entries_of(board: Board) -> tuple[str, dict[str, Entry]]:
    name, entries = next(iter(board.scenarios.items()))
    return name, {entry.method: entry for entry in entries}


def tables_of(section: list[str]) -> list[dict[str, dict[str, str]]]:
    """Method -> heading -> cell, of each table of a section."""
    tables = []
    for part in section:
        lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines()]
        if part.startswith("|"):
            rows = [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]
            tables.append({row["method"]: row for row in rows})
    return tables


def test_a_row_shows_what_it_cost_and_the_best_row_for_no_more(board: Board) -> None:
    assert cost(board) == []  # nothing was trained
    name, by_method = entries_of(board)
    cheap, dear = trained(by_method["fixed"], 10), trained(by_method["markov"], 1234, "cap on steps")
    spent, made = tables_of(cost(replace(board, scenarios={name: [cheap, dear, by_method["popularity"]]})))
    assert spent.keys() == made.keys() == {"fixed", "markov"}
    row = {**spent["markov"], **made["markov"]}
    expected = {"CPU-s": "1,234", "steps": "40", "prefixes": "300", "tokens": "2,000"}
    assert row.items() >= {**expected, "weights": "5", "stopped by": "cap on steps"}.items()
    ndcg = {method: entry.mean("full", "ndcg@10") for method, entry in by_method.items()}
    affordable = max(("fixed", "popularity"), key=lambda method: ndcg[method])
    best = "–" if affordable == "fixed" else f"popularity {ndcg['popularity']:.4f}"
    assert spent["fixed"].get("best at this cost", "–") == best
    # Columns that hold nothing are left out.
    assert not {"GPU-s", "added", "Wh", "g CO2"} & spent["fixed"].keys()


def test_older_results_have_no_cost(board: Board) -> None:
    name, by_method = entries_of(board)
    entry = trained(by_method["fixed"], None)
    assert cpu_seconds(entry) is None
    assert cost(replace(board, scenarios={name: [entry]})) == []


def test_shared_components_cost_nothing_beyond_the_reference(board: Board) -> None:
    name, by_method = entries_of(board)
    alone = trained(by_method["fixed"], 10, key="own")
    merged = trained(by_method["markov"], 10, key="own", reference="fixed", more={"source": 7.0, "hybrid": 5.0})
    entries = (alone, merged)
    assert row_cost(merged) == RowCost(22.0, 0.0, 6000.0)
    assert marginal_cost(merged, entries) == RowCost(12.0, 0.0, 4000.0)
    assert marginal_cost(merged, (merged,)) is None  # its reference is not on the board
    assert marginal_cost(trained(by_method["fixed"], 10, reference="fixed"), entries) is None  # it is its own
    # One seed of the reference is missing, and with it the components of that seed.
    assert marginal_cost(merged, (replace(alone, results=alone.results[:1]), merged)) is None
    (spent, _) = tables_of(cost(replace(board, scenarios={name: entries})))
    assert (spent["markov"]["added"], spent["markov"]["tokens added"]) == ("12", "4,000")
    assert spent["fixed"]["added"] == "–"


def test_timings_are_compared_on_one_kind_of_machine_only(board: Board) -> None:
    name, by_method = entries_of(board)
    one, four = ({"cpu": "EPYC", "cores": "8", "threads": threads} for threads in ("1", "4"))
    cheap = trained(by_method["fixed"], 10, hardware=one, device="cpu")
    dear = trained(by_method["markov"], 99, hardware=four, device="cpu")
    section = cost(replace(board, scenarios={name: (cheap, dear)}))
    assert "- A: device cpu, cpu EPYC, cores 8, threads 1." in section
    assert "- B: device cpu, cpu EPYC, cores 8, threads 4." in section
    (spent, _) = tables_of(section)
    assert [spent[method]["timed on"] for method in ("fixed", "markov")] == ["A", "B"]
    # Of no machine but its own, even if the other row is better.
    assert "best at this cost" not in spent["markov"]
    mixed = replace(cheap, results=(cheap.results[0], dear.results[1]))
    assert machine(mixed) is None
    # Older results say on which machine they ran, and nothing of threads.
    older = trained(by_method["fixed"], 10)
    hardware = older.results[0].provenance.hardware
    assert ("cpu", hardware["cpu"]) in (machine(older) or ())
    assert "threads" not in dict(machine(older) or ())


def test_gpu_seconds_are_those_of_trainings_on_a_gpu(board: Board) -> None:
    name, by_method = entries_of(board)
    entry = trained(by_method["fixed"], 10, device="cuda", more={"second": 3.0})
    assert row_cost(entry) == RowCost(13.0, 2.0, 4000.0)
    (spent, _) = tables_of(cost(replace(board, scenarios={name: (entry,)})))
    assert spent["fixed"]["GPU-s"] == "2"


def test_energy_is_the_sum_of_trainings_and_runs_if_all_were_tracked(board: Board) -> None:
    name, by_method = entries_of(board)
    tracked = trained(by_method["fixed"], 10, energy=ENERGY, more={"second": 1.0})
    metered = trained(by_method["popularity"], 10, energy=ENERGY.model_copy(update={"estimated": (), "co2_kg": None}))
    untracked = trained(by_method["markov"], 10)
    section = cost(replace(board, scenarios={name: (tracked, metered, untracked)}))
    (spent, _) = tables_of(section)
    # Two trainings and the run, 1.5 Wh and 2 g each.
    assert (spent["fixed"]["Wh"], spent["fixed"]["g CO2"]) == ("≈ 4.50", "≈ 6.00")
    assert (spent["popularity"]["Wh"], spent["popularity"]["g CO2"]) == ("3.00", "–")
    assert (spent["markov"]["Wh"], spent["markov"]["g CO2"]) == ("–", "–")
    assert "≈ where a part is estimated" in section[3]
