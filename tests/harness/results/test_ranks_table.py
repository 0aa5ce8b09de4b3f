"""Tables of ranks: quick metrics, and how ranks are held."""

import numpy as np
import pyarrow as pa
import pytest

from harness.protocol.ranks import MISSED, Ranks
from harness.results.parquet import as_array
from harness.results.ranks_table import RankTable


@pytest.mark.parametrize("n_users", [1, 7, 500])
@pytest.mark.parametrize("n_slices", [1, 5, 11])
@pytest.mark.parametrize("with_chance", [False, True])
def test_approximate_metrics_are_the_metrics(n_users: int, n_slices: int, with_chance: bool) -> None:
    rng = np.random.default_rng(n_users + n_slices)
    above = np.where(rng.random(n_users) < 0.1, MISSED, rng.integers(0, 40, n_users))
    tied = np.where(above == MISSED, 0, rng.integers(0, 25, n_users))
    chance = rng.random(n_users) if with_chance else None
    slices = {"all": np.ones(n_users, bool), **{f"s{i}": rng.random(n_users) < 0.3 for i in range(1, n_slices)}}
    table = RankTable({"full": Ranks(above, tied, np.full(n_users, 99), chance)}, slices)
    expected, actual = table.metrics("full"), table.approximate_metrics("full")
    assert actual.keys() == expected.keys()
    for name in slices:
        assert actual[name] == pytest.approx(expected[name], abs=1e-13)


def test_ranks_are_wide_again_when_they_are_read() -> None:
    ranks = RankTable({"full": Ranks(np.array([MISSED]), np.array([0]), np.array([9]))}, {}).ranks["full"]
    assert (ranks.above + ranks.tied + 1).tolist() == [MISSED + 1]


@pytest.mark.parametrize(
    "column",
    [
        pa.chunked_array([pa.array([True, False, True]), pa.array([False])]),
        pa.array([3, 1, 2], pa.int32())[1:],
        pa.array([0.5, 1.0]),
        pa.array([True, False, True, True])[1:3],
        pa.array([], pa.bool_()),
        pa.chunked_array([], pa.int64()),
    ],
)
def test_columns_as_arrays(column) -> None:
    array = as_array(column)
    assert array.tolist() == column.to_pylist()
    assert array.dtype == column.type.to_pandas_dtype()
