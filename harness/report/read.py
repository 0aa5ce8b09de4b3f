"""Results for notebooks: a data frame, or a leaderboard as markdown."""

from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.report.collect import collect
from harness.report.folders import boards_in
from harness.report.leaderboard import leaderboard as render

if TYPE_CHECKING:
    import pandas as pd

OUTPUT = Path("leaderboards")


def read_results(output_dir: Path | str = OUTPUT, suite: str | None = None) -> "pd.DataFrame":
    """Read the results in an output folder, with every metric recomputed from ranks.

    Args:
        output_dir: a folder of results and leaderboards.
        suite: name of one suite. None: all with results.

    Returns:
        A row for each value, with the columns `suite`, `version`, `scenario`, `target`, `sources`, `method`, `seed`,
        `candidates`, `slice`, `metric`, `value` (mean over the slice's users) and `users` (users in the slice).

    Raises:
        HarnessError: a file cannot be read, or does not belong where it is.
    """
    import pandas as pd

    folder = Path(output_dir) / "results"
    rows = [
        {
            "suite": board.suite,
            "version": board.version,
            "scenario": scenario,
            "target": result.scenario.target,
            "sources": "+".join(result.scenario.sources),
            "method": entry.method,
            "seed": result.seed,
            "candidates": candidates,
            "slice": slice_name,
            "metric": metric,
            "value": value,
            "users": result.slices[slice_name],
        }
        for board in (collect(folder, name, version) for name, version in boards_in(folder, suite))
        for scenario, entries in board.scenarios.items()
        for entry in entries
        for result, table in zip(entry.results, entry.tables, strict=True)
        for candidates in table.ranks
        for slice_name, metrics in table.metrics(candidates).items()
        for metric, value in metrics.items()
    ]
    return pd.DataFrame(rows)


def leaderboard(suite: str, output_dir: Path | str = OUTPUT, version: int | None = None) -> str:
    """Make the leaderboard of a suite from the results in an output folder.

    Args:
        suite: its name.
        output_dir: a folder of results and leaderboards.
        version: of the suite. None: the newest with results.

    Returns:
        Markdown.

    Raises:
        HarnessError: there are no results, or a file cannot be read.
    """
    folder = Path(output_dir) / "results"
    versions = [number for _, number in boards_in(folder, suite)]
    if not versions:
        raise HarnessError(f"No results of suite {suite!r} in {folder}.", f"Run: harness run --suite {suite}.")
    return render(collect(folder, suite, versions[-1] if version is None else version))
