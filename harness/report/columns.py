"""The columns of a board's tables. To add one to all boards, add a line to `COLUMNS`.

Other packages add columns by the entry point group `cdsr_harness.columns`, whose entries name a `Column`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from harness.errors import HarnessError
from harness.extensions import COLUMNS as GROUP
from harness.extensions import extensions, load_extension
from harness.protocol.metrics import is_list_metric
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

    @property
    def is_main(self) -> bool:
        """Whether it stands in the main table: a metric of ranks among the full catalogue over all users."""
        return self.candidates == "full" and self.slice == "all" and not self.is_of_lists

    @property
    def is_of_lists(self) -> bool:
        """Whether it is a metric of recommendation lists."""
        return is_list_metric(self.metric)


COLUMNS = (
    Column("NDCG@10", "full", "ndcg@10"),
    Column("HR@10", "full", "hr@10"),
    Column("MRR@10", "full", "mrr@10"),
    Column("cold users", "full", "ndcg@10", "cold_users"),
    Column("head items", "full", "ndcg@10", "head_items"),
    Column("tail items", "full", "ndcg@10", "tail_items"),
    Column("cold items", "full", "ndcg@10", "cold_items"),
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


def means(entries: Iterable[Entry], column: Column) -> list[float | None]:
    """The mean of each entry in a column; None where its results lack what the column needs."""
    return [entry.mean(column.candidates, column.metric, column.slice) for entry in entries]
