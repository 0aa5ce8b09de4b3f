"""Single users of a comparison as markdown and as JSON values."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import zip_longest
from typing import Any

from harness.report.examples import SHOWN, Example, Kind
from harness.report.markdown import bold, escaped, table
from harness.report.pair import PairComparison

_HEADINGS: dict[Kind, str] = {"won": "Most won by {a}", "lost": "Most won by {b}", "hardest": "Hardest for both"}


def examples_text(pair: PairComparison, examples: Sequence[Example], missing: Sequence[str]) -> str:
    """Markdown: a section for each kind of example, with a table for each user, and what is missing."""
    labels = escaped(pair.sides.a.label), escaped(pair.sides.b.label)
    lines = [
        "## Single users",
        "",
        f"Ranks of the held-out item among {escaped(pair.candidates)}, one for each seed; of tied items, the ranks "
        f"that are equally likely. History: the last {SHOWN} items of the target before the held-out one, oldest "
        "first. Lists: the top of the first seed's; **bold**: the held-out item.",
    ]
    lines += ["", *(f"- {escaped(line)}" for line in missing)] if missing else []
    for kind, heading in _HEADINGS.items():
        lines += ["", f"### {heading.format(a=labels[0], b=labels[1])}"]
        of_kind = [example for example in examples if example.kind == kind]
        for number, example in enumerate(of_kind, start=1):
            lines += ["", *_example(pair, number, example, labels)]
        if not of_kind:
            lines += ["", "No user."]
    return "\n".join(lines)


def example_json(example: Example) -> dict[str, Any]:
    """An example as JSON values."""
    return {**asdict(example), "held_out_title": example.titles.get(example.held_out)}


def _example(pair: PairComparison, number: int, example: Example, labels: tuple[str, str]) -> list[str]:
    several = f" on {escaped(example.scenario)}" if len(pair.sides.scenarios) > 1 else ""
    held_out = escaped(example.title(example.held_out))
    lines = [
        f"{number}. User {escaped(example.user)}{several}, difference {example.difference:+.4f}. Held out: "
        f"**{held_out}**.",
    ]
    if example.history is not None:
        items = "; ".join(escaped(example.title(item)) for item in example.history)
        lines += ["", f"   History ({len(example.history)} of {example.history_length}): {items}."]
    ranks = [", ".join(ranks) for ranks in example.ranks]
    if example.lists == (None, None):
        return [*lines, "", f"   Rank: {labels[0]} {ranks[0]}; {labels[1]} {ranks[1]}."]
    body = [["rank", *ranks]]
    columns = [_shown(example, side) for side in (0, 1)]
    body += [[str(place), *cells] for place, cells in enumerate(zip_longest(*columns, fillvalue="–"), start=1)]
    rows = table(["", *labels], body, ["right", "left", "left"])
    return [*lines, "", *(f"   {line}" for line in rows.splitlines())]


def _shown(example: Example, side: int) -> list[str]:
    """The list of a side as cells."""
    items = example.lists[side] or ()
    return [bold(escaped(example.title(item)), item == example.held_out) for item in items]
