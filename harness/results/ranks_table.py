"""The file of a run's ranks, from which all metrics of ranks are computed: a row per test user."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.protocol.metrics import per_user
from harness.protocol.ranks import MISSED, Ranks
from harness.results.parquet import RESTORE, read_parquet, to_parquet
from harness.results.users import TestUsers

#: Columns of each candidate set, and those that are left out where they say nothing.
_PARTS = ("above", "tied", "candidates")
_OPTIONAL = ("chance", "unscored")
#: Type of each column of a candidate set.
_TYPES: dict[str, Callable[[pa.DataType], bool]] = {
    **dict.fromkeys(_PARTS, pa.types.is_integer),
    "chance": pa.types.is_floating,
    "unscored": pa.types.is_boolean,
}


class RankTable:
    """Ranks of each test user for every candidate set, and the members of each slice.

    Args:
        ranks: by candidate set.
        slices: members of each slice, bool [n_users].
        users: of the rows.
    """

    def __init__(
        self, ranks: dict[str, Ranks], slices: dict[str, NDArray[np.bool_]], users: TestUsers | None = None
    ) -> None:
        self.ranks = ranks
        self.slices = slices
        self.users = users or TestUsers((), ())

    def metrics(self, candidates: str) -> dict[str, dict[str, float | None]]:
        """Slice -> recorded metric -> mean over the slice's users; None for an empty slice."""
        values = per_user(self.ranks[candidates])
        return {
            name: {m: float(v[members].mean()) if members.any() else None for m, v in values.items()}
            for name, members in self.slices.items()
        }

    def reordered(self, users: TestUsers) -> "RankTable":
        """The table with its rows in the order of `users`, who must be the same."""
        row = {user: index for index, user in enumerate(self.users.user_ids)}
        order = np.array([row[user] for user in users.user_ids], dtype=np.int64)
        ranks = {name: ranks.select(order) for name, ranks in self.ranks.items()}
        return RankTable(ranks, {name: members[order] for name, members in self.slices.items()}, users)

    def to_parquet(self) -> bytes:
        """A Parquet file with a row per user, in the order of `users.parquet`."""
        columns: dict[str, Any] = {f"slice/{name}": members for name, members in self.slices.items()}
        for candidates, ranks in self.ranks.items():
            for part in _PARTS:
                columns[f"{candidates}/{part}"] = getattr(ranks, part).astype(np.int32)
            for part in _OPTIONAL:
                if getattr(ranks, part) is not None:
                    columns[f"{candidates}/{part}"] = getattr(ranks, part)
        return to_parquet(columns)

    @classmethod
    def from_parquet(cls, path: Path, users: TestUsers | None = None) -> "RankTable":
        """Reads a file that `to_parquet` wrote.

        Args:
            path: of the file.
            users: of its rows.

        Raises:
            HarnessError: the file is missing, holds something else, or holds impossible ranks.
        """
        table = read_parquet(path, "ranks")
        for name in table.column_names:
            group, _, part = name.rpartition("/")
            is_type = pa.types.is_boolean if group == "slice" else _TYPES.get(part)
            if not group or is_type is None or not is_type(table.schema.field(name).type) or table[name].null_count:
                raise HarnessError(f"{path}: column {name!r} is not one of ranks or slices.", RESTORE)
        columns = {name: table[name].to_numpy() for name in table.column_names}
        sets = dict.fromkeys(name.rpartition("/")[0] for name in columns if not name.startswith("slice/"))
        missing = [f"{s}/{part}" for s in sets for part in _PARTS if f"{s}/{part}" not in columns]
        if missing or not columns.get("slice/all", np.zeros(1)).all():
            column = next(iter(missing), "slice/all")
            raise HarnessError(f"{path}: column {column!r} is missing or incomplete.", RESTORE)
        ranks = {
            s: Ranks(
                *(columns[f"{s}/{part}"].astype(np.int64) for part in _PARTS),
                *(columns.get(f"{s}/{part}") for part in _OPTIONAL),
            )
            for s in sets
        }
        for name, set_ranks in ranks.items():
            possible = _are_possible(set_ranks)
            if not possible.all():
                raise HarnessError(f"{path}, row {possible.argmin() + 1:,}: {name} has an impossible rank.", RESTORE)
        return cls(ranks, {n.removeprefix("slice/"): v for n, v in columns.items() if n.startswith("slice/")}, users)


def _are_possible(ranks: Ranks) -> NDArray[np.bool_]:
    """Whether each rank can be one: bool [n_users]."""
    missed = ranks.above == MISSED
    among = (ranks.above >= 0) & (ranks.tied >= 0) & (ranks.above + ranks.tied < ranks.candidates)
    chance = np.ones(1) if ranks.chance is None else ranks.chance
    valid = np.where(missed, (ranks.tied == 0) & (ranks.candidates >= 0), among)
    return np.asarray(valid & (chance > 0) & (chance <= 1))
