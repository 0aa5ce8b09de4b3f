"""A table of what merging rules chose for each row of a board.

The artefact of such a choice is of the kind `merge`. Its notes hold what validation has `chosen` (name -> number or
numbers), or the `mean` over layers of weights that differ by layer.
"""

from typing import Any

from harness.report.collect import Board
from harness.report.markdown import bold, escaped, table
from harness.results.record import ArtefactRecord


def merging(board: Board) -> list[str]:
    """A section with a row for each merge with a choice; empty if there is none."""
    first = {
        (result.scenario.name, result.method): result
        for result in sorted(board.results, key=lambda result: -result.seed)  # the first seed's is kept
    }
    body = [
        [escaped(scenario), escaped(method), _chosen(record), _validation(record)]
        for (scenario, method), result in sorted(first.items())
        for record in result.training
        if is_merge(record)
    ]
    if not body:
        return []
    return [
        "",
        "## What merging rules chose",
        "",
        "With the first seed: by the target's validation NDCG@10 (**bold**: the chosen try's), every rule with as many "
        "tries; or weights of each layer that make predictions the surest, of which the mean over the layers is shown. "
        "Weights: first that of the target's own component, then one for each source in the scenario's order.",
        "",
        table(["scenario", "method", "chosen", "validation NDCG@10 of the tries"], body, ["left"] * 4),
    ]


def is_merge(record: ArtefactRecord) -> bool:
    """Whether a record is of a merging rule's choice, not of a training."""
    return record.kind == "merge" and not record.notes.keys().isdisjoint(("chosen", "mean"))


def _chosen(record: ArtefactRecord) -> str:
    if "chosen" in record.notes:
        return ", ".join(f"{name} {_numbers(value)}" for name, value in record.notes["chosen"].items())
    return f"mean weights {_numbers(record.notes['mean'])}"


def _validation(record: ArtefactRecord) -> str:
    scores = record.validation
    best = scores.index(max(scores))
    return ", ".join(bold(f"{s:.4f}", index == best and len(scores) > 1) for index, s in enumerate(scores))


def _numbers(value: Any) -> str:
    return " / ".join(
        f"{number:.2f}".rstrip("0").rstrip(".") for number in (value if isinstance(value, list) else [value])
    )
