"""The foot of a board: which results, code and packages it comes from, and notes on its candidate sets."""

from harness.report.collect import Board
from harness.report.markdown import escaped
from harness.results.record import CandidatesRecord, RunResult
from harness.storage.files import digest


def provenance(board: Board, hidden: frozenset[str]) -> list[str]:
    """The section on where a board comes from.

    Args:
        board: the results.
        hidden: candidate sets without a column, as an index changes nothing.
    """
    results = board.results
    first = results[0]
    sources = sorted({result.code.source for result in results})
    lines = [
        "",
        "## Where this comes from",
        "",
        f"- {len(results)} results; digest of their contents "
        f"`{digest([result.content_digest() for result in results])[:16]}`.",
        f"- Seeds: {', '.join(map(str, sorted({result.seed for result in results})))}. "
        f"Budget of every trained method: "
        f"{', '.join(f'{name} {value}' for name, value in first.budget.items())} (validation NDCG@10 selects).",
        f"- Harness {', '.join(sorted({result.code.version for result in results}))}; "
        f"packages {', '.join(f'{name} {version}' for name, version in first.packages.items())}.",
    ]
    if len(sources) > 1:
        shown = ", ".join(f"`{source[:12]}`" for source in sources)
        lines.append(f"- **The results were made by {len(sources)} states of the code** ({shown}).")
    if any(result.packages != first.packages for result in results):
        lines.append("- **The results were made with different package versions**; those of the first are shown.")
    lines += [
        f"- {name} has no column: its users' figures are those of `full`, as they must be where scores are the dot "
        "products that an exact index searches."
        for name in sorted(hidden)
    ]
    return [*lines, *_descriptions(results), *_indexes(results), *_validity(results), *_not_measured(results, hidden)]


def _descriptions(results: list[RunResult]) -> list[str]:
    """What candidate sets are, where their results say it."""
    descriptions = {
        name: record.description
        for result in results
        for name, record in result.candidates.items()
        if record.description
    }
    return [f"- {escaped(name)}: {escaped(text)}." for name, text in sorted(descriptions.items())]


def _indexes(results: list[RunResult]) -> list[str]:
    """The recall of approximate indexes, by the run with the lowest."""
    least: dict[tuple[str, str], CandidatesRecord] = {}
    for result in results:
        for name, record in result.candidates.items():
            if record.index not in (None, "exact") and record.recall is not None:
                key = (name, result.method)
                least[key] = min(least.get(key, record), record, key=lambda record: record.recall or 0.0)
    return [
        f"- {name} of {escaped(method)} comes from an approximate index, which finds {record.recall:.4f} of what an "
        f"exact one does{_interval(record)}."
        for (name, method), record in sorted(least.items(), key=lambda pair: pair[0])
    ]


def _interval(record: CandidatesRecord) -> str:
    if record.recall_interval is None:
        return ", or more, for the users it was tried on"
    low, high = record.recall_interval
    return f" (95 % confidence interval {low:.4f} to {high:.4f}, from {record.recall_users:,} users drawn at random)"


def _validity(results: list[RunResult]) -> list[str]:
    """Faults of written answers."""
    lines = []
    for result in results:
        for candidates, shares in (result.validity or {}).items():
            faults = [f"{name} {share:.1%}" for name, share in shares.items() if name != "answers"]
            lines.append(
                f"- {escaped(result.method)} on {escaped(result.scenario.name)}, {candidates}, seed {result.seed}, "
                f"wrote {shares['answers']:,.0f} answers: {', '.join(faults)}."
            )
    return lines


def _not_measured(results: list[RunResult], hidden: frozenset[str]) -> list[str]:
    """Methods that could not be ranked among a candidate set, with the reason."""
    methods: dict[tuple[str, str], set[str]] = {}
    for result in results:
        for name, record in result.candidates.items():
            if record.absent and name not in hidden:
                methods.setdefault((name, record.absent), set()).add(result.method)
    return [
        f"- {name} is not measured for {escaped(', '.join(sorted(names)))}: {escaped(reason)}."
        for (name, reason), names in sorted(methods.items())
    ]
