"""Tables of what merging rules chose for the rows of a board.

The artefact of such a choice is of the kind `merge`. Its notes hold what validation has `chosen` (name -> number or
numbers), or the `mean` over layers of weights that differ by layer.
"""

from typing import Any

from harness.report.collect import Board
from harness.report.markdown import escaped
from harness.report.tables import DASH, Cell, bold_if, folded, make_table
from harness.results.record import ArtefactRecord


def merging(board: Board) -> list[str]:
    """A section with a table for each scenario with such a choice; empty if there is none."""
    first = {
        (result.scenario.name, result.method): result
        for result in sorted(board.results, key=lambda result: -result.seed)  # the first seed's is kept
    }
    merges: dict[str, list[tuple[str, ArtefactRecord]]] = {}
    for (scenario, method), result in sorted(first.items()):
        for record in filter(is_merge, result.training):
            merges.setdefault(scenario, []).append((method, record))
    if not merges:
        return []
    lines = [
        "",
        "## What merging rules chose",
        "",
        "With the first seed: by the target's validation NDCG@10 (**bold**: the chosen try's), every rule with as many "
        "tries; or weights of each layer that make predictions the surest, of which the mean over the layers is shown. "
        "Weights: first that of the target's own component, then one for each source in the scenario's order.",
    ]
    for scenario, records in merges.items():
        tries = max(len(record.validation) for _, record in records)
        body = [[Cell(method), folded(_chosen(record), 30), *_tries(record, tries)] for method, record in records]
        headings = ["method", "chosen", *(f"try {number}" for number in range(1, tries + 1))]
        for table in make_table("validation NDCG@10", headings, body).parts():
            lines += ["", f"### Merging: {escaped(scenario)}, {table.title}", "", table.markdown]
    return lines


def is_merge(record: ArtefactRecord) -> bool:
    """Whether a record is of a merging rule's choice, not of a training."""
    return record.kind == "merge" and not record.notes.keys().isdisjoint(("chosen", "mean"))


def _chosen(record: ArtefactRecord) -> str:
    if "chosen" in record.notes:
        return ", ".join(f"{name} {_numbers(value)}" for name, value in record.notes["chosen"].items())
    return f"mean weights {_numbers(record.notes['mean'])}"


def _tries(record: ArtefactRecord, count: int) -> list[Cell]:
    """The validation score of each try, the best in bold; dashes for tries that a rule did not make."""
    scores = record.validation
    best = scores.index(max(scores))
    cells = [bold_if(f"{score:.4f}", index == best and len(scores) > 1) for index, score in enumerate(scores)]
    return cells + [Cell(DASH)] * (count - len(cells))


def _numbers(value: Any) -> str:
    return " / ".join(
        f"{number:.2f}".rstrip("0").rstrip(".") for number in (value if isinstance(value, list) else [value])
    )
