"""A board's notes on runs that failed or were skipped."""

from harness.report.collect import Board
from harness.report.markdown import escaped


def failed_methods(board: Board, scenario: str) -> dict[str, str]:
    """Methods of a scenario without a result, sorted: `failed` if a run was tried, else `skipped`."""
    measured = {entry.method for entry in board.scenarios.get(scenario, ())}
    statuses: dict[str, set[str]] = {}
    for failure in board.failures:
        if failure.scenario == scenario and failure.method not in measured:
            statuses.setdefault(failure.method, set()).add(failure.status)
    return {method: min(outcomes) for method, outcomes in sorted(statuses.items())}


def failure_lines(board: Board, scenario: str) -> list[str]:
    """The reasons, one line per method and reason; empty if no run of the scenario failed or was skipped."""
    results = {(r.scenario.name, r.method, r.seed) for r in board.results}
    seeds: dict[tuple[str, str, str, bool], list[int]] = {}
    for f in board.failures:
        if f.scenario == scenario:
            earlier = (scenario, f.method, f.seed) in results
            seeds.setdefault((f.method, f.status, f.cause, earlier), []).append(f.seed)
    lines = [
        f"- {escaped(method)}, seed{'s' * (len(failed) > 1)} {', '.join(map(str, sorted(failed)))}, {status}: "
        + escaped(cause)
        + " The figures above are those of an earlier run." * earlier
        for (method, status, cause, earlier), failed in seeds.items()
    ]
    return ["", *lines] if lines else []


def failed_scenarios(board: Board) -> list[str]:
    """A section for each scenario without any result."""
    names = sorted({f.scenario for f in board.failures} - board.scenarios.keys())
    return [
        line
        for name in names
        for line in ("", f"## {escaped(name)}", "", "No run came to a result.", *failure_lines(board, name))
    ]
