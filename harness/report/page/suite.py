"""A suite's part of the page."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from harness.data.times import as_day
from harness.report.collect import Board
from harness.report.comparison import MAIN, Comparison, Gain, Pair, compare
from harness.report.cost import cost
from harness.report.failures import failed_scenarios, failure_lines
from harness.report.merging import merging
from harness.report.page.cards import cards_of
from harness.report.page.content import Figure, ScenarioPart, Section, SuitePart
from harness.report.page.explorer import explorer
from harness.report.page.figures import cost_figure, curve_figure, tie_figure, time_figure, transfer_figure
from harness.report.page.markup import Ids, block, inline
from harness.report.page.plots import plot_gains
from harness.report.page.tables import CardIds, gain_table, overview_table, scenario_table
from harness.report.provenance import provenance
from harness.report.remarks import remarks
from harness.report.rows import Row, ordered_rows
from harness.report.ties import order_of_ties
from harness.report.time_guard import time_guard
from harness.report.training import training
from harness.report.transfer import reference_pairs, scenario_gains
from harness.results.record import RunResult

_RANKED = (
    "Rank: of the mean over these scenarios, with intervals over users and seeds that all hold at once (95 %). Group: "
    "rows that share a letter cannot be told apart. Each figure leads to the card of its row."
)
_NOT_RANKED = (
    "There are no ranks: they need two seeds that the rows share in every scenario. Each figure leads to the card of "
    "its row."
)


def suite_part(board: Board, ids: Ids) -> SuitePart:
    """The part of one version of a suite."""
    name = f"{board.suite}/v{board.version}"
    title, *notes = remarks(board, MAIN[1])
    suite_id = ids.new("suite", name)
    cards = {
        (scenario, entry.method): ids.new("card", name, scenario, entry.method)
        for scenario, entries in board.scenarios.items()
        for entry in entries
    }
    comparisons = {scenario: compare(entries) for scenario, entries in board.scenarios.items()}
    gains = {scenario: _gains(board, scenario, comparisons[scenario]) for scenario in board.scenarios}
    rows = {scenario: ordered_rows(board.scenarios[scenario], of) for scenario, of in comparisons.items()}
    overview, methods = overview_table(board, cards, ids.new(suite_id, "overview"))
    main = {scenario: of[MAIN[0]] for scenario, of in gains.items()}
    figures = [
        transfer_figure(board, main, ids.new(suite_id, "transfer")),
        cost_figure(board, ids.new(suite_id, "cost-and-quality")),
        curve_figure(board, ids.new(suite_id, "curves")),
        tie_figure(board, ids.new(suite_id, "ties")),
        time_figure(board, ids.new(suite_id, "time")),
    ]
    return SuitePart(
        suite_id,
        name,
        f"{len(board.results):,} results of {len({entry.method for entry in board.entries})} methods on "
        f"{len(board.scenarios)} scenarios" + title.partition(" (")[1] + title.partition(" (")[2],
        block(line for line in notes if not line.startswith("Derived from")),
        overview,
        _RANKED if len(overview.columns) > len(board.scenarios) + 2 else _NOT_RANKED,
        explorer(board, methods, overview.id),
        tuple(figure for figure in figures if figure is not None),
        tuple(_sections(board, suite_id, ids)),
        tuple(
            _scenario(board, scenario, rows[scenario], comparisons[scenario], gains[scenario], cards, ids)
            for scenario in board.scenarios
        ),
        block(failed_scenarios(board), ids.new(suite_id, "failed"), 4),
        block([line for line in provenance(board, frozenset()) if not line.startswith("## ")]),
    )


def _gains(board: Board, scenario: str, comparison: Comparison) -> dict[str, dict[Pair, Gain]]:
    """Gains over the references by candidate set, `full` first."""
    pairs = reference_pairs(board.scenarios[scenario])
    sampled = sorted({name for result in board.results for name in result.candidates if name.startswith("sampled-")})
    return {name: scenario_gains(board, scenario, comparison, pairs, name) for name in (MAIN[0], *sampled)}


def _sections(board: Board, suite_id: str, ids: Ids) -> Iterator[Section]:
    """The sections of the board that have no plot, or whose plot does not hold all."""
    for lines in (training(board), cost(board), merging(board), order_of_ties(board)):
        headings = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
        if headings:
            section_id = ids.new(suite_id, headings[0])
            body = [line for line in lines if not line.startswith("## ")]
            yield Section(
                section_id,
                headings[0],
                block(body, section_id, 4, caption=headings[0], of=f"{board.suite}/v{board.version}"),
            )


def _scenario(
    board: Board,
    scenario: str,
    rows: list[Row],
    comparison: Comparison,
    gains: Mapping[str, Mapping[Pair, Gain]],
    cards: CardIds,
    ids: Ids,
) -> ScenarioPart:
    result = rows[0].entry.results[0]
    scenario_id = ids.new("scenario", board.suite, f"v{board.version}", scenario)
    of_method = {row.entry.method: cards[scenario, row.entry.method] for row in rows}
    cards_here = cards_of(rows, of_method)
    failures = [line.removeprefix("- ") for line in failure_lines(board, scenario) if line]
    return ScenarioPart(
        scenario_id,
        scenario,
        (*_facts(board, result), *cards_here.facts),
        tuple(map(inline, (time_guard(result), *failures))),
        scenario_table(board, scenario, rows, comparison, cards, ids.new(scenario_id, "methods")),
        _gain_figure(board, scenario, gains, of_method, ids.new(scenario_id, "gains")),
        cards_here.cautions,
        cards_here.cards,
    )


def _gain_figure(
    board: Board,
    scenario: str,
    gains: Mapping[str, Mapping[Pair, Gain]],
    cards: Mapping[str, str],
    figure_id: str,
) -> Figure | None:
    main = gains[MAIN[0]]
    if not main:
        return None
    record = board.scenarios[scenario][0].results[0].scenario
    question = f"Does learning from {' and '.join(record.sources)} help on {record.target}?"
    caption = f"Gain in NDCG@10 over the same without sources, {scenario}"
    return Figure(
        figure_id,
        question,
        "Difference from the same method without source domains, with 95 % intervals over users and seeds (over users "
        "only with one seed). Full dots differ from 0, with the error held over all gains of the plot; with one seed "
        "nothing is tested. Left of 0 the sources do harm.",
        (plot_gains(main, question, figure_id),),
        gain_table(gains, caption, f"{figure_id}-table", cards),
    )


def _facts(board: Board, result: RunResult) -> Iterable[tuple[str, str]]:
    record, sizes = result.scenario, result.slices
    target = result.data[record.target]
    split, *instants = record.split.split("/")
    days = [as_day(instant) for instant in instants]
    yield (
        "Target",
        f"{record.target}: {target.users:,} users, {target.items:,} items, {target.training_interactions:,} training "
        "interactions",
    )
    yield "Sources", ", ".join(record.sources)
    yield (
        "Split",
        (f"{split}, validation from {days[0]}, test from {days[1]}" if days else split)
        + ("; shared users left in one domain only" if record.overlap == "none" else ""),
    )
    slices = ", ".join(f"{name.replace('_', ' ')} {size:,}" for name, size in sizes.items() if name != "all")
    yield "Test users", f"{sizes['all']:,} ({slices}); {result.left_out:,} take no part"
    counts = Counter(len(entry.results) for entry in board.scenarios[record.name])
    yield "Seeds", ", ".join(f"{seeds} for {rows} methods" for seeds, rows in sorted(counts.items()))
