"""The figures of a whole suite, each with the table of its data; None where the results hold nothing to draw."""

from collections.abc import Mapping

import numpy as np

from harness.data.ties import percent
from harness.report.collect import Board, Entry
from harness.report.comparison import MAIN, Gain, Pair
from harness.report.cost import cpu_seconds
from harness.report.merging import is_merge
from harness.report.page.content import Cell, Column, Figure, Table
from harness.report.page.plots import (
    Curve,
    Point,
    level_starts,
    pareto_front,
    plot_cost,
    plot_curves,
    plot_shares,
    plot_transfer,
)
from harness.results.record import ArtefactRecord


def transfer_figure(board: Board, gains: Mapping[str, Mapping[Pair, Gain]], figure_id: str) -> Figure | None:
    """A heat map of gains for each target: methods by sets of sources."""
    means: dict[Pair, list[float]] = {}
    for of_scenario in gains.values():
        for pair, gain in of_scenario.items():
            means.setdefault(pair, []).append(gain.figure.mean)
    if not means:
        return None
    pairs = sorted(means, key=lambda pair: (-float(np.mean(means[pair])), pair))
    records = {scenario: entries[0].results[0].scenario for scenario, entries in board.scenarios.items()}
    largest = max(abs(mean) for of_pair in means.values() for mean in of_pair)
    several = len({method for method, _ in pairs}) < len(pairs)
    names = {pair: " − ".join(pair) if several else pair[0] for pair in pairs}
    svgs = []
    for number, target in enumerate(dict.fromkeys(record.target for record in records.values())):
        scenarios = [name for name, record in records.items() if record.target == target and gains[name]]
        if scenarios:
            rows = {names[pair]: [gains[name].get(pair) for name in scenarios] for pair in pairs}
            labels = ["+".join(records[name].sources) for name in scenarios]
            if len(set(labels)) < len(labels):  # scenarios that differ in their split
                labels = scenarios
            svgs.append(plot_transfer(target, labels, rows, largest, f"{figure_id}-{number}"))
    columns = (Column("method", is_number=False), Column("against", is_number=False), *map(Column, gains))
    body = [(Cell(pair[0]), Cell(pair[1]), *(_gain_cell(of.get(pair)) for of in gains.values())) for pair in pairs]
    return Figure(
        figure_id,
        "Which sources help which target?",
        "Gain in NDCG@10 of each method over the same without sources: blue for a gain, orange for harm, stronger "
        f"from {', '.join(f'±{start:.4f}' for start in level_starts(largest))} on. *: differs from 0, with the error "
        "held over the gains of its scenario. The methods with the largest mean gain are on top.",
        tuple(svgs),
        Table(f"{figure_id}-table", "Gain in NDCG@10 by scenario", columns, tuple(body)),
    )


def _gain_cell(gain: Gain | None) -> Cell:
    return Cell("–") if gain is None else Cell(f"{gain.figure.mean:+.4f}", strong=gain.is_found)


def cost_figure(board: Board, figure_id: str) -> Figure | None:
    """Quality over training cost, in the mean over scenarios, of the methods with both in all of them."""
    entries: dict[str, list[Entry]] = {}
    for entry in board.entries:
        entries.setdefault(entry.method, []).append(entry)
    points = []
    for method, of_method in entries.items():
        costs = [seconds for entry in of_method if (seconds := cpu_seconds(entry)) is not None]
        if len(costs) == len(board.scenarios):
            quality = float(np.mean([entry.mean(*MAIN) or 0.0 for entry in of_method]))
            points.append(Point(method, float(np.mean(costs)), quality))
    if not any(point.cost for point in points):
        return None
    question = "What does quality cost in training?"
    front = pareto_front(points)
    rows = [
        (
            Cell(point.method),
            Cell(f"{point.cost:,.0f}"),
            Cell(f"{point.quality:.4f}"),
            Cell("yes" if point in front else "no", strong=point in front),
        )
        for point in sorted(points, key=lambda point: (point.cost, -point.quality))
    ]
    columns = (
        Column("method", is_number=False),
        Column("CPU-seconds"),
        Column("NDCG@10"),
        Column("on the Pareto front", is_number=False),
    )
    return Figure(
        figure_id,
        question,
        "Means over all scenarios. The line is the Pareto front: no method does better at the same or a lower cost. "
        "Cost: CPU-seconds of training all that a row is made of, from nothing.",
        (plot_cost(points, question, figure_id),),
        Table(f"{figure_id}-table", "Training cost and NDCG@10, means over scenarios", columns, tuple(rows)),
    )


def curve_figure(board: Board, figure_id: str) -> Figure | None:
    """Training curves of the first seed, by target."""
    by_target: dict[str, dict[str, tuple[Curve, ArtefactRecord, set[str]]]] = {}
    for entry in board.entries:
        result = entry.results[0]
        for record in result.training:
            if len(record.validation) > 1 and not is_merge(record):
                of_target = by_target.setdefault(result.scenario.target, {})
                of_target.setdefault(record.key, (_curve(record), record, set()))[2].add(entry.method)
    if not by_target:
        return None
    rows = [
        (
            Cell(record.label),
            Cell(target),
            Cell(", ".join(sorted(methods))),
            Cell(str(len(curve.validation))),
            Cell(f"{record.steps:,}"),
            Cell(f"{record.best_step:,}"),
            Cell(f"{max(curve.validation):.4f}"),
            Cell(str(record.notes.get("stopped_by", "–")), strong=curve.is_capped),
        )
        for target, of_target in by_target.items()
        for curve, record, methods in of_target.values()
    ]
    columns = (
        Column("trained", is_number=False),
        Column("target", is_number=False),
        Column("for", is_number=False),
        Column("evaluations"),
        Column("steps"),
        Column("kept after"),
        Column("best validation NDCG@10"),
        Column("stopped by", is_number=False),
    )
    panels = [
        plot_curves([curve for curve, _, _ in of_target.values()], target, f"{figure_id}-{number}")
        for number, (target, of_target) in enumerate(by_target.items())
    ]
    return Figure(
        figure_id,
        "Had training stopped improving?",
        "Validation NDCG@10 after each evaluation, of the first seed. The dot is what was kept. Orange: a cap ended "
        "the training, or its last evaluation was its best, so that more training may do better.",
        tuple(panels),
        Table(f"{figure_id}-table", "Trainings of the first seed", columns, tuple(rows)),
    )


def _curve(record: ArtefactRecord) -> Curve:
    stopped = record.notes.get("stopped_by")
    kept = int(np.argmax(record.validation))
    is_capped = stopped != "patience" if stopped is not None else kept == len(record.validation) - 1
    return Curve(record.label, record.validation, kept, is_capped)


def tie_figure(board: Board, figure_id: str) -> Figure | None:
    """Shares of users whose validation or test event is one of several at the same time."""
    records = {name: record for result in board.results for name, record in result.data.items()}
    audits = {name: record.ties for name, record in records.items() if record.ties is not None}
    shares = {
        name: (audit.validation_tied or 0.0, audit.test_tied or 0.0)
        for name, audit in audits.items()
        if audit.test_tied is not None
    }
    if not shares:
        return None
    rows = [
        (Cell(name), Cell(audit.order or "–"), *map(Cell, map(percent, (audit.tied, *shares[name]))))
        for name, audit in audits.items()
        if name in shares
    ]
    columns = (
        Column("domain", is_number=False),
        Column("order of ties", is_number=False),
        Column("events tied"),
        Column("validation in a tie"),
        Column("test in a tie"),
    )
    warnings = [f"{name}: {warning}." for name, audit in audits.items() for warning in audit.warnings()]
    question = "How often does the order of ties select the event?"
    return Figure(
        figure_id,
        question,
        "Share of users whose validation or test event has the same timestamp as another of their events, so that the "
        "tie rule decides. "
        + (" ".join(warnings) or "The audit found no share of rising ids that is far from chance."),
        (plot_shares(shares, ("validation event", "test event"), question, figure_id),),
        Table(f"{figure_id}-table", "Ties, by domain", columns, tuple(rows)),
    )


def time_figure(board: Board, figure_id: str) -> Figure | None:
    """Shares of test users for whom training data hold later events."""
    records = {scenario: entries[0].results[0].leakage for scenario, entries in board.scenarios.items()}
    shares = {
        name: (record.exposed_users, record.exposed_by_own or 0.0)
        for name, record in records.items()
        if record.exposed_users is not None
    }
    if not shares:
        return None
    question = "Do training data look into the future of the test?"
    rows = [
        (
            Cell(name),
            Cell(percent(record.exposed_users)),
            Cell(percent(record.exposed_by_own)),
            Cell(", ".join(f"{domain} {count:,}" for domain, count in (record.later or {}).items()) or "–"),
            Cell(record.unknown or "–"),
        )
        for name, record in records.items()
    ]
    columns = (
        Column("scenario", is_number=False),
        Column("users with later events in training"),
        Column("with later events of their own"),
        Column("events later than the first test event", is_number=False),
        Column("not known because", is_number=False),
    )
    return Figure(
        figure_id,
        question,
        "Share of test users for whom training data, in some domain, hold events later than their test event. A "
        "temporal split has none.",
        (plot_shares(shares, ("in any domain", "events of their own"), question, figure_id),),
        Table(f"{figure_id}-table", "Audit of time, by scenario", columns, tuple(rows)),
    )
