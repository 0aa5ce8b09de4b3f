"""A board's section for each scenario: its data and its tables."""

from collections.abc import Iterator

from harness.data.times import as_day
from harness.report.collect import Entry
from harness.report.comparison import Comparison
from harness.report.failures import failure_lines
from harness.report.markdown import escaped
from harness.report.scenario_tables import BoardTables, equal_rows
from harness.report.tables import Table
from harness.report.time_guard import time_guard
from harness.results.record import RunResult


def scenario_sections(tables: BoardTables) -> list[str]:
    """A section for each scenario."""
    lines = []
    for scenario, rows in tables.rows.items():
        result = rows[0].entry.results[0]
        lines += [
            "",
            f"## {escaped(scenario)}",
            "",
            _description(result),
            "",
            time_guard(result),
            "",
            _seeds(tables.board.scenarios[scenario], tables.comparisons[scenario]),
        ]
        for number, table in enumerate(scenario_tables(tables, scenario)):
            lines += ["", f"### {escaped(scenario)}: {escaped(table.title)}", "", table.markdown]
            if number == 0:
                same = [" = ".join(map(escaped, methods)) for methods in equal_rows(rows)]
                lines += ["", f"The same ranks for every user and seed: {'; '.join(same)}."] if same else []
        lines += failure_lines(tables.board, scenario)
    return lines


def scenario_tables(tables: BoardTables, scenario: str) -> Iterator[Table]:
    """The tables of a scenario, the main one first, each as wide as a page at most."""
    yield from tables.main_table(scenario).parts()
    for table in tables.slice_tables(scenario):
        yield from table.parts()
    among = tables.candidates_table(scenario)
    if among is not None:
        yield from among.parts()


def _description(result: RunResult) -> str:
    target, sizes = result.data[result.scenario.target], result.slices
    return (
        f"Target {result.scenario.target} ({target.users:,} users, {target.items:,} items, "
        f"{target.training_interactions:,} training interactions), sources "
        f"{', '.join(result.scenario.sources)}; split {_split(result)}"
        f"{'; shared users left in one domain only' if result.scenario.overlap == 'none' else ''}. "
        f"Test users: {sizes['all']:,}{' drawn at random' if result.test_users else ''} ({result.left_out:,} take no "
        f"part), of them cold "
        f"{sizes['cold_users']:,} (the {sizes['cold_users'] / sizes['all']:.1%} with the shortest histories); "
        f"held-out items: head {sizes['head_items']:,}, tail {sizes['tail_items']:,}, "
        f"cold {sizes['cold_items']:,}."
    )


def _seeds(entries: tuple[Entry, ...], comparison: Comparison) -> str:
    """The number of seeds, and rows that have no mark and an interval over users only."""
    counts = sorted({len(entry.results) for entry in entries})
    seeds = f"Seeds: {counts[0]}" + (f" to {counts[-1]}" if counts[1:] else "")
    if not comparison.is_tested:
        return f"{seeds}. No row is marked{'; ± is over users only' if counts == [1] else ''}."
    unmarked = [entry.method for entry in entries if entry.method not in comparison.methods]
    return f"{seeds}." + (f" One seed, so no mark, and ± over users only: {', '.join(unmarked)}." if unmarked else "")


def _split(result: RunResult) -> str:
    name, *instants = result.scenario.split.split("/")
    days = [as_day(instant) for instant in instants]
    return f"{name} (validation from {days[0]}, test from {days[1]})" if days else name
