"""The section on what training cost."""

from dataclasses import replace

from harness.report.collect import Entry, collect
from harness.report.cost import cost, cpu_seconds
from harness.results.record import ArtefactCost, ArtefactRecord
from tests.harness.report.test_leaderboard import run_all


def trained(entry: Entry, cpu_s: float | None, stopped_by: str = "patience") -> Entry:
    """An entry whose results used one training each."""
    notes = {"prefixes": {entry.results[0].scenario.target: 300, "other": 7}, "tokens": 2000, "stopped_by": stopped_by}
    record = ArtefactRecord(
        kind="lora", label="a", key="k", validation=(0.1,), steps=40, best_step=30, trainable_parameters=5, notes=notes
    )
    spent = ArtefactCost(label="a", key="k", wall_s=1, cpu_s=cpu_s, peak_memory_mb=1)
    results = [
        result.model_copy(
            update={"training": (record,), "cost": result.cost.model_copy(update={"artefacts": (spent,)})}
        )
        for result in entry.results
    ]
    return replace(entry, results=tuple(results))


def test_a_row_shows_what_it_cost_and_the_best_row_for_no_more(toy) -> None:
    board = collect(run_all(toy, ("popularity", "fixed", "markov")), "toy", 1)
    assert cost(board) == []  # nothing was trained
    (name, entries), *_ = board.scenarios.items()
    by_method = {entry.method: entry for entry in entries}
    cheap, dear = trained(by_method["fixed"], 10), trained(by_method["markov"], 1234, "cap on steps")
    section = cost(replace(board, scenarios={name: [cheap, dear, by_method["popularity"]]}))
    rows = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
        for line in section[-1].splitlines()[2:]
    }
    assert section[-3] == f"### Cost: {name}"
    assert rows.keys() == {"fixed", "markov"}
    assert rows["markov"][:6] == ["1,234", "40", "300", "2,000", "5", "cap on steps"]
    ndcg = {method: entry.mean("full", "ndcg@10") for method, entry in by_method.items()}
    affordable = max(("fixed", "popularity"), key=lambda method: ndcg[method])
    best = "–" if affordable == "fixed" else f"popularity {ndcg['popularity']:.4f}"
    assert rows["fixed"][-1] == best


def test_older_results_have_no_cost(toy) -> None:
    board = collect(run_all(toy), "toy", 1)
    (name, entries), *_ = board.scenarios.items()
    entry = trained(entries[0], None)
    assert cpu_seconds(entry) is None
    assert cost(replace(board, scenarios={name: [entry]})) == []
