"""The markdown leaderboard: a pure function of result files."""

from harness.report.badges import submissions
from harness.report.collect import Board
from harness.report.comparison import MAIN
from harness.report.cost import cost
from harness.report.failures import failed_scenarios
from harness.report.markdown import contents, wrapped
from harness.report.merging import merging
from harness.report.overview import overview
from harness.report.prompt_order import prompt_order
from harness.report.provenance import provenance
from harness.report.published import beside_published
from harness.report.recommended import recommended
from harness.report.remarks import remarks
from harness.report.scenario_tables import BoardTables, columns_as_full
from harness.report.scenarios import scenario_sections
from harness.report.ties import order_of_ties
from harness.report.training import training
from harness.report.transfer import transfer


def leaderboard(board: Board, metric: str = MAIN[1]) -> str:
    """The leaderboard of a suite as markdown: an overview, a section for each scenario, and where it came from.

    Args:
        board: the results.
        metric: of ranks, with its cutoff, that rows are ordered and compared by. Sections on transfer, published
            figures, cost and training are there for NDCG@10 only.
    """
    tables = BoardTables(board, metric)
    parts = [overview(board, metric).markdown, scenario_sections(tables), failed_scenarios(board)]
    if metric == MAIN[1]:
        parts += [
            transfer(board, tables.comparisons),
            recommended(board, tables.rows),
            beside_published(board),
            prompt_order(board),
            order_of_ties(board),
            training(board),
            cost(board),
            merging(board),
            provenance(board, columns_as_full(board, tables.as_full)),
        ]
    parts.append(submissions(board))
    lines = [line for part in parts for line in part]
    return wrapped([*remarks(board, metric), "", contents(lines), *lines])
