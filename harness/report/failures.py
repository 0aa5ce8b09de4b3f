"""What a board says of runs that failed."""

from harness.report.collect import Board
from harness.report.markdown import escaped

FAILED = "*failed*"


def failed_methods(board: Board, scenario: str) -> list[str]:
    """Methods of a scenario of which there is nothing but failures, sorted."""
    measured = {entry.method for entry in board.scenarios.get(scenario, ())}
    return sorted({f.method for f in board.failures if f.scenario == scenario} - measured)


def failure_lines(board: Board, scenario: str) -> list[str]:
    """The reasons, a line for each failed run of a scenario; nothing where none failed."""
    results = {(r.scenario.name, r.method, r.seed) for r in board.results}
    lines = [
        f"- {escaped(f.method)}, seed {f.seed}, failed: {escaped(f.cause)}"
        + (" The figures above are those of an earlier run." if (scenario, f.method, f.seed) in results else "")
        for f in board.failures
        if f.scenario == scenario
    ]
    return ["", *lines] if lines else []


def failed_scenarios(board: Board) -> list[str]:
    """A section for each scenario of which every run failed."""
    names = sorted({f.scenario for f in board.failures} - board.scenarios.keys())
    return [
        line
        for name in names
        for line in ("", f"## {escaped(name)}", "", "Every run failed.", *failure_lines(board, name))
    ]
