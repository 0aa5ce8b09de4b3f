"""A board's tables as LaTeX, for papers. They need the package booktabs."""

import re
from collections.abc import Iterator

from harness.report.collect import Board
from harness.report.overview import overview
from harness.report.scenario_tables import BoardTables
from harness.report.scenarios import scenario_tables
from harness.report.tables import Cell, Table

_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "±": r"$\pm$",
        "†": r"$^{\dagger}$",
        "‡": r"$^{\ddagger}$",
        "§": r"$^{\S}$",
        "–": "--",
    }
)
_STYLES = {"plain": "{}", "bold": r"\textbf{{{}}}", "italic": r"\emph{{{}}}"}


def latex(board: Board, metric: str) -> str:
    """The overview and each scenario's tables as LaTeX.

    Args:
        board: the results.
        metric: of ranks, with its cutoff, that rows are ordered and compared by.
    """
    return "\n".join(
        [rf"% {board.suite} v{board.version}. In the preamble: \usepackage{{booktabs}}", *_tables(board, metric)]
    )


def _tables(board: Board, metric: str) -> Iterator[str]:
    shown, tables = overview(board, metric), BoardTables(board, metric)
    yield latex_table(shown.summary, shown.summary.title)
    legend = "; ".join(f"{short}: {name}" for short, name in shown.legend.items())
    for table in shown.scenarios:
        yield latex_table(table, f"{table.title}. {legend}" if legend else table.title)
    for scenario in board.scenarios:
        for table in scenario_tables(tables, scenario):
            yield latex_table(table, f"{scenario}: {table.title}")


def latex_table(table: Table, caption: str) -> str:
    """A table with a caption."""
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped_latex(caption)}.}}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.headings) - 1)}}}",
        r"\toprule",
        _line(tuple(map(Cell, table.headings))),
        r"\midrule",
        *map(_line, table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _line(cells: tuple[Cell, ...]) -> str:
    return " & ".join(_STYLES[cell.style].format(escaped_latex(cell.text)) for cell in cells) + r" \\"


def escaped_latex(text: str) -> str:
    r"""A text that LaTeX prints as it is.

    >>> escaped_latex("a_b ± 5%")
    'a\\_b $\\pm$ 5\\%'
    """
    escaped = text.translate(_ESCAPES).replace("\n", " ")
    return re.sub(r"^-(?=\d)", "$-$", escaped)
