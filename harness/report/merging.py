"""What merging rules chose for each row of a board, as a table.

The artefact of such a choice is of the kind `merge`, and its notes hold what was `chosen` by validation (name -> number
or numbers), or the `mean` over layers of what each layer has of its own.
"""

from typing import Any

from tabulate import tabulate

from harness.report.collect import Board
from harness.report.markdown import escaped
from harness.results.record import ArtefactRecord


def merging(board: Board) -> list[str]:
    """A section with a row for each merge that had something to choose; nothing where none had."""
    first = {
        (result.scenario.name, result.method): result
        for result in sorted(board.results, key=lambda result: -result.seed)  # so that the first seed's stays
    }
    body = [
        [escaped(scenario), escaped(method), _chosen(record), _tried(record)]
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
        tabulate(
            body,
            ["scenario", "method", "chosen", "validation NDCG@10 of the tries"],
            tablefmt="pipe",
            disable_numparse=True,
        ),
    ]


def is_merge(record: ArtefactRecord) -> bool:
    """Whether a record is a merging rule's choice, and not a training's."""
    return record.kind == "merge" and not record.notes.keys().isdisjoint(("chosen", "mean"))


def _chosen(record: ArtefactRecord) -> str:
    if "chosen" in record.notes:
        return ", ".join(f"{name} {_numbers(value)}" for name, value in record.notes["chosen"].items())
    return f"mean weights {_numbers(record.notes['mean'])}"


def _tried(record: ArtefactRecord) -> str:
    scores = record.validation
    best = scores.index(max(scores))
    return ", ".join(
        f"**{score:.4f}**" if place == best and len(scores) > 1 else f"{score:.4f}"
        for place, score in enumerate(scores)
    )


def _numbers(value: Any) -> str:
    return " / ".join(
        f"{number:.2f}".rstrip("0").rstrip(".") for number in (value if isinstance(value, list) else [value])
    )
