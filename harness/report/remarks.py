"""The head of a board: its title, how to read it, and what it lacks."""

from harness.report.badges import badges_note
from harness.report.collect import Board
from harness.report.failures import failed_methods
from harness.report.markdown import escaped
from harness.report.rows import has_default_settings, is_scored_outside
from harness.report.time_guard import is_selected_on_test
from harness.suites import shipped_suite

_FEWEST_SEEDS = 3


def remarks(board: Board, metric: str) -> list[str]:
    """The title of a board and the remarks below it.

    Args:
        board: the results.
        metric: that rows are ordered and compared by.
    """
    counts = {len(entry.results) for entry in board.entries}
    least = min(counts)
    lines = [
        _title(board, least),
        "",
        "Derived from the files in `results/` by `harness leaderboard`; do not edit.",
        "",
        f"{metric.upper()} over the **full** target catalogue less each user's history, unless a heading says "
        f"otherwise. **Bold**: the best of its table, or of its column where columns are scenarios, slices or "
        f"candidate sets. {_intervals(max(counts))}",
    ]
    if len(counts) > 1:
        lines += ["", f"**Incomplete:** entries have between {least} and {max(counts)} seeds."]
    if any(map(has_default_settings, board.entries)):
        lines += ["", "‡: default settings, though the budget has trials to choose them by: the row may do better."]
    lines += _scored_outside(board)
    lines += badges_note(board)
    missing = _missing_runs(board)
    if missing:
        lines += ["", f"**Incomplete:** no result of {', '.join(missing)}."]
    lines += _users_without_scores(board)
    absent = _absent_from_suite(board)
    if absent:
        lines += ["", f"**Incomplete:** nothing at all yet of what the suite has too: {', '.join(absent)}."]
    return lines


def _intervals(most_seeds: int) -> str:
    """What ± and † mean."""
    if most_seeds == 1:
        return (
            "± is the half-width of a 95 % confidence interval over **users only**. With one seed nobody knows how "
            "much another seed would change, so no row is marked."
        )
    return (
        "Figures are means over seeds and users ± the half-width of their 95 % confidence interval. †: cannot be told "
        "from the best by a randomised Tukey test over users and seeds, whose error over all pairs of rows of the "
        "table is held at 5 %."
    )


def _title(board: Board, least_seeds: int) -> str:
    notes = []
    if least_seeds < _FEWEST_SEEDS:
        notes.append(f"only {least_seeds} seed{'s' if least_seeds > 1 else ''}")
    if any(is_selected_on_test(entry.results[0]) for entry in board.entries):
        notes.append("selected on test")
    return f"# {board.suite} v{board.version}" + (f" ({'; '.join(notes)})" if notes else "")


def _missing_runs(board: Board) -> list[str]:
    """Methods of the board without a result or a failure record on one of its scenarios."""
    methods = sorted({entry.method for entry in board.entries})
    return [
        f"{escaped(method)} on {escaped(scenario)}"
        for scenario, entries in board.scenarios.items()
        for method in methods
        if method not in {entry.method for entry in entries}.union(failed_methods(board, scenario))
    ]


def _absent_from_suite(board: Board) -> list[str]:
    """Methods and scenarios of a built-in suite without results; empty for user suites.

    Not its `more_methods`, which run on request only.
    """
    suite = shipped_suite(board.suite, board.version)
    if suite is None:
        return []
    methods = {entry.method for entry in board.entries}
    names = [*suite.methods, *(scenario.name for scenario in suite.scenarios)]
    return [name for name in names if name not in methods | board.scenarios.keys()]


def _users_without_scores(board: Board) -> list[str]:
    """Methods that recommended nothing at all to some users."""
    lines = []
    for scenario, entries in board.scenarios.items():
        for entry in entries:
            for name in entry.results[0].candidates:
                counts = [record.unscored for result in entry.results if (record := result.candidates.get(name))]
                most = max((count for count in counts if count), default=0)
                if most:
                    share = most / entry.results[0].slices["all"]
                    lines += [
                        "",
                        f"**No scores:** {entry.method} on {scenario} gives no candidate of {name} a finite score for "
                        f"{most:,} test users ({share:.1%}), who count as misses.",
                    ]
    return lines


def _scored_outside(board: Board) -> list[str]:
    """What § means, and the rows whose figures at some cutoffs are lower bounds."""
    entries = [entry for entry in board.entries if is_scored_outside(entry)]
    if not entries:
        return []
    lines = [
        "",
        "§: scored outside. Code that the harness did not run made the scores or lists; the harness ranked them. How "
        "they were trained and tuned is not known here, nor whether they saw the test events.",
    ]
    for entry in entries:
        lengths = [r.outside.list_length for r in entry.results if r.outside and r.outside.list_length is not None]
        if lengths:
            lines += [
                "",
                f"**Lists:** {escaped(entry.method)} on {escaped(entry.results[0].scenario.name)} lists "
                f"{min(lengths):,} candidates or more a user: at cutoffs above that, an item that is not listed counts "
                "as a miss.",
            ]
    return lines
