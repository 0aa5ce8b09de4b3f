"""The file of a run's ranks, from which all metrics of ranks are computed: a row per test user."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.protocol.metrics import CUTOFFS, RECORDED, per_user
from harness.protocol.ranks import MISSED, Ranks
from harness.results.parquet import RESTORE, as_array, read_parquet, to_parquet
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


class _Compact(Mapping[str, Ranks]):
    """Ranks by candidate set, held in half the memory: thousands of tables may be open at once.

    Arrays are widened to int64 each time that they are asked for, so that sums with `MISSED` do not overflow.
    """

    def __init__(self, ranks: Mapping[str, Ranks]) -> None:
        self._ranks = {name: _with_type(of, np.int32) for name, of in ranks.items()}

    def __getitem__(self, name: str) -> Ranks:
        return _with_type(self._ranks[name], np.int64)

    def __contains__(self, name: object) -> bool:
        return name in self._ranks

    def __iter__(self) -> Iterator[str]:
        return iter(self._ranks)

    def __len__(self) -> int:
        return len(self._ranks)


def _with_type(ranks: Ranks, dtype: type[np.integer[Any]]) -> Ranks:
    return replace(ranks, **{part: getattr(ranks, part).astype(dtype, copy=False) for part in _PARTS})


class RankTable:
    """Ranks of each test user for every candidate set, and the members of each slice.

    Args:
        ranks: by candidate set.
        slices: members of each slice, bool [n_users].
        users: of the rows.
    """

    def __init__(
        self, ranks: Mapping[str, Ranks], slices: dict[str, NDArray[np.bool_]], users: TestUsers | None = None
    ) -> None:
        self.ranks: Mapping[str, Ranks] = _Compact(ranks)
        self.slices = slices
        self.users = users or TestUsers((), ())

    def metrics(self, candidates: str) -> dict[str, dict[str, float | None]]:
        """Slice -> recorded metric -> mean over the slice's users; None for an empty slice."""
        values = per_user(self.ranks[candidates])
        return {
            name: {m: float(v[members].mean()) if members.any() else None for m, v in values.items()}
            for name, members in self.slices.items()
        }

    def approximate_metrics(self, candidates: str) -> dict[str, dict[str, float | None]]:
        """The same as `metrics` up to rounding errors, about ten times as fast: to check recorded ones.

        A metric is linear in the counts of ranks 1 ... K, so one histogram of ranks gives all metrics of a slice.
        """
        ranks, bins = self.ranks[candidates], max(CUTOFFS) + 1
        first, last = np.minimum(ranks.above, bins - 1), np.minimum(ranks.above + ranks.tied + 1, bins - 1)
        weights = (1.0 if ranks.chance is None else ranks.chance) / (ranks.tied + 1)
        means: dict[str, dict[str, float | None]] = {}
        for names in _batches(list(self.slices)):
            # Users in the same slices of the batch have the same group, whose bits are the slices.
            groups = bins * sum(self.slices[name].astype(np.int64) << bit for bit, name in enumerate(names))
            size = bins << len(names)
            counts = np.bincount(groups + last, weights, size) - np.bincount(groups + first, weights, size)
            by_group, group = counts.reshape(-1, bins), np.arange(1 << len(names))
            for bit, name in enumerate(names):
                ends, users = by_group[group >> bit & 1 == 1].sum(axis=0), int(self.slices[name].sum())
                means[name] = {m: float(ends @ gains) / users if users else None for m, gains in _GAINS.items()}
        return means

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
        columns: dict[str, Any] = {name: as_array(table[name]) for name in table.column_names}
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


def _batches(names: list[str], size: int = 8) -> Iterator[list[str]]:
    """The names, `size` at a time."""
    yield from (names[start : start + size] for start in range(0, len(names), size))


def _gains_up_to(rank: int) -> dict[str, NDArray[np.float64]]:
    """The gains of the ranks 1 ... r, summed, for r = 0 ... `rank`, by recorded metric: float64 [rank + 1] each."""
    ranks = np.arange(rank)
    single = Ranks(ranks, np.zeros_like(ranks), np.full_like(ranks, rank))
    return {
        f"{name}@{k}": np.concatenate([[0.0], np.cumsum(metric(single, k))])
        for name, metric in RECORDED.items()
        for k in CUTOFFS
    }


_GAINS = _gains_up_to(max(CUTOFFS))


def _are_possible(ranks: Ranks) -> NDArray[np.bool_]:
    """Whether each rank can be one: bool [n_users]."""
    missed = ranks.above == MISSED
    among = (ranks.above >= 0) & (ranks.tied >= 0) & (ranks.above + ranks.tied < ranks.candidates)
    chance = np.ones(1) if ranks.chance is None else ranks.chance
    valid = np.where(missed, (ranks.tied == 0) & (ranks.candidates >= 0), among)
    return np.asarray(valid & (chance > 0) & (chance <= 1))
