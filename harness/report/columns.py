"""The columns of a board's tables. To add one to all boards, add a line to `COLUMNS`.

Other packages add columns by the entry point group `cdsr_harness.columns`, whose entries name a `Column`.
"""

from dataclasses import dataclass

from harness.errors import HarnessError
from harness.extensions import COLUMNS as GROUP
from harness.extensions import extensions, load_extension
from harness.report.collect import Entry


@dataclass(frozen=True)
class Column:
    """A metric among some candidates over the users of a slice.

    Attributes:
        heading: as the table prints it.
        candidates: name of a candidate set.
        metric: name and cutoff, such as `ndcg@10`; of ranks or of recommendation lists.
        slice: name of a slice; metrics of lists are over all users.
    """

    heading: str
    candidates: str
    metric: str
    slice: str = "all"


COLUMNS = (
    Column("HR@10", "full", "hr@10"),
    Column("MRR@10", "full", "mrr@10"),
    Column("NDCG@10, cold users", "full", "ndcg@10", "cold_users"),
    Column("NDCG@10, head items", "full", "ndcg@10", "head_items"),
    Column("NDCG@10, tail items", "full", "ndcg@10", "tail_items"),
    Column("NDCG@10, cold items", "full", "ndcg@10", "cold_items"),
    Column("Coverage@10", "full", "coverage@10"),
    Column("Gini@10", "full", "gini@10"),
    Column("Novelty@10", "full", "novelty@10"),
    Column("Popularity@10", "full", "popularity@10"),
)


def board_columns() -> tuple[Column, ...]:
    """The built-in columns, then those of other packages by name.

    Raises:
        HarnessError: an entry point of the group names something else than a `Column`.
    """
    others = [load_extension(entry) for entry in extensions(GROUP).values()]
    for column in others:
        if not isinstance(column, Column):
            raise HarnessError(f"{column!r} in {GROUP} is not a harness.report.columns.Column.", "Fix the entry point.")
    return (*COLUMNS, *others)


def cell(entry: Entry, column: Column) -> str:
    """A method's mean in a column; a dash where its results lack what the column needs."""
    mean = entry.mean(column.candidates, column.metric, column.slice)
    return "–" if mean is None else f"{mean:.4f}"
