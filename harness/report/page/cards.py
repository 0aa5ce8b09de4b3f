"""A card for each row of a scenario: what was run, what it cost, where it comes from and what to be careful about."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from harness.report.cautions import cautions_of_any_seed
from harness.report.collect import Entry
from harness.report.comparison import MAIN
from harness.report.cost import cpu_seconds
from harness.report.merging import is_merge
from harness.report.page.content import Card
from harness.report.page.markup import inline
from harness.report.rows import Row, has_default_settings, is_scored_outside
from harness.results.record import RunResult

#: Characters of a digest that are shown.
_SHORT = 12
#: Facts that are said once where all rows of a scenario share them.
_SHARED = ("Data", "Code", "Machine")


@dataclass(frozen=True)
class Cards:
    """The cards of a scenario.

    Attributes:
        cards: one for each row.
        facts: that all rows share.
        cautions: that hold for every row.
    """

    cards: tuple[Card, ...]
    facts: tuple[tuple[str, str | Markup], ...]
    cautions: tuple[Markup, ...]


def cards_of(rows: Sequence[Row], ids: Mapping[str, str]) -> Cards:
    """The cards of a scenario's rows, and what all of them share.

    Args:
        rows: the best first.
        ids: id of the card by method.
    """
    facts = {row.entry.method: _facts(row.entry, ids) for row in rows}
    first = next(iter(facts.values()))
    same = {name for name in _SHARED if len(rows) > 1 and len({of[name] for of in facts.values()}) == 1}
    cautions = {row.entry.method: _cautions(row.entry) for row in rows}
    counts = Counter(text for texts in cautions.values() for text in texts)
    shared = [text for text, count in counts.items() if count == len(rows) > 1]
    return Cards(
        tuple(
            Card(
                ids[method],
                method,
                tuple(_marks(row.entry)),
                f"{row.figure.mean:.4f} ± {row.figure.half_width:.4f}",
                tuple((name, text) for name, text in facts[method].items() if text and name not in same),
                tuple(inline(text) for text in cautions[method] if text not in shared),
            )
            for row in rows
            for method in (row.entry.method,)
        ),
        tuple((name, first[name]) for name in _SHARED if name in same),
        tuple(map(inline, shared)),
    )


def _cautions(entry: Entry) -> list[str]:
    """Cautions of all seeds, each once."""
    texts = [
        text
        for result, ranks in zip(entry.results, entry.tables, strict=True)
        for text in cautions_of_any_seed(result, ranks)
    ]
    alone = ["One seed: another one gives another figure, and ± does not hold that."] if len(entry.results) == 1 else []
    return [*alone, *dict.fromkeys(texts)]


def _marks(entry: Entry) -> Iterator[str]:
    if is_scored_outside(entry):
        yield "scored outside"
    if has_default_settings(entry):
        yield "default settings, though the budget has trials"


def _facts(entry: Entry, ids: Mapping[str, str]) -> dict[str, str | Markup]:
    first = entry.results[0]
    return {
        "Learns from": ", ".join(first.learns_from) or "no domain",
        "Compared with": _reference(first, ids),
        "Settings": _settings(first.settings) or "none",
        "Chosen by": _tuning(first),
        "Seeds": _seeds(entry),
        "Training": _training(entry),
        "Cost": _cost(entry),
        "Data": ", ".join(f"{name} {record.fingerprint[:_SHORT]}" for name, record in first.data.items()),
        "Other files": ", ".join(f"{name} {sha[:_SHORT]}" for name, sha in first.content.items()),
        "Code": _code(entry.results),
        "Machine": " | ".join(dict.fromkeys(_machine(result) for result in entry.results)),
        "Made": " to ".join(dict.fromkeys(f(r.provenance.created for r in entry.results) for f in (min, max))),
        "Result files": str(first.path).replace(f"-seed{first.seed}.json", "-seed*.json"),
    }


def _reference(result: RunResult, ids: Mapping[str, str]) -> str | Markup:
    if not result.reference:
        return ""
    if result.reference not in ids:
        return f"{result.reference} (no result here)"
    return Markup('<a href="#{}">{}</a>').format(ids[result.reference], result.reference)


def _settings(settings: Mapping[str, Any], prefix: str = "") -> str:
    parts = [
        _settings(value, f"{prefix}{name}.") if isinstance(value, dict) else f"{prefix}{name} {value}"
        for name, value in settings.items()
    ]
    return ", ".join(part for part in parts if part)


def _tuning(result: RunResult) -> str:
    if result.tuning is None:
        return "no tuning: the defaults of the method and the suite" if result.settings else ""
    return f"validation NDCG@10 among {len(result.tuning.trials)} trials: {result.tuning.command}"


def _seeds(entry: Entry) -> str:
    """NDCG@10 and the digest of the ranks of each seed."""
    values = entry.values(*MAIN)
    assert values is not None  # noqa: S101 - every suite has full candidates
    return "; ".join(
        f"seed {result.seed}: {mean:.4f}, ranks {result.ranks_sha256[:_SHORT]}"
        for result, mean in zip(entry.results, values.mean(axis=1), strict=True)
    )


def _training(entry: Entry) -> Markup:
    """The trainings of the first seed, and what ended each."""
    return Markup("<br>").join(
        f"{record.label}: {record.steps:,} steps, kept after {record.best_step:,}, "
        f"{record.trainable_parameters:,} weights"
        + (f", stopped by {record.notes['stopped_by']}" if "stopped_by" in record.notes else "")
        for record in entry.results[0].training
        if not is_merge(record)
    )


def _cost(entry: Entry) -> str:
    seconds = cpu_seconds(entry)
    costs = [result.cost for result in entry.results]
    memory = max(cost.peak_memory_mb for cost in costs)
    gpu = max((cost.peak_gpu_memory_mb or 0.0 for cost in costs), default=0.0)
    parts = [
        "training: CPU-seconds not known"
        if seconds is None
        else f"training {seconds:,.0f} CPU-seconds" * bool(seconds),
        f"fit {np.mean([cost.fit_s for cost in costs]):,.1f} s",
        f"ranking {np.mean([cost.score_s for cost in costs]):,.1f} s",
        f"peak memory {memory:,.0f} MB",
        f"on the GPU {gpu:,.0f} MB" * bool(gpu),
    ]
    return ", ".join(part for part in parts if part) + (" (means over seeds, largest peaks)" if costs[1:] else "")


def _code(results: Sequence[RunResult]) -> str:
    texts = []
    for result in results:
        made = result.provenance
        commit = f"commit {made.commit[:_SHORT]}" if made.commit else "not from a checkout"
        changed = " with changes that no commit holds" if made.commit and not made.clean else ""
        texts.append(f"harness {result.code.version}, {commit}{changed}, code {result.code.source[:_SHORT]}")
    return " | ".join(dict.fromkeys(texts))


def _machine(result: RunResult) -> str:
    made = result.provenance
    hardware = {} if made.device in made.hardware else {"device": made.device}
    return ", ".join(f"{name} {value}" for name, value in (hardware | made.hardware).items())
