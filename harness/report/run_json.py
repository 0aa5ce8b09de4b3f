"""The results of a command's runs as JSON values: their metrics with full precision, and their files."""

from collections.abc import Iterable
from pathlib import Path

from harness.report.collect import Board
from harness.results.files import lists_path, ranks_path, users_path


def results_json(board: Board | None, runs: Iterable[tuple[str, str, int]]) -> list[dict[str, object]]:
    """A value for each run with a result, in order.

    Args:
        board: the results of the suite; None if there are none.
        runs: scenario, method and seed of each.

    Returns:
        Mappings with `scenario`, `method`, `seed`, `result` and the other files of the run, `metrics` (candidate set ->
        slice -> metric -> mean over users; None for an empty slice) and `not_measured` (candidate set -> reason).
    """
    found = {}
    for entry in board.entries if board else ():
        for result, path in zip(entry.results, entry.paths, strict=True):
            lists = lists_path(path) if result.lists_sha256 else None
            found[result.scenario.name, result.method, result.seed] = {
                "scenario": result.scenario.name,
                "method": result.method,
                "seed": result.seed,
                "result": _text(path),
                "ranks": _text(ranks_path(path)),
                "lists": _text(lists),
                "users": _text(users_path(path)),
                "metrics": {n: record.metrics for n, record in result.candidates.items() if record.metrics is not None},
                "not_measured": {n: record.absent for n, record in result.candidates.items() if record.metrics is None},
            }
    return [found[run] for run in runs if run in found]


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
