"""The file of a run's recommendation lists: a row per test user, in the order of `users.parquet`."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from harness.data.domain import Ints
from harness.errors import HarnessError
from harness.protocol.recommendations import LIST_LENGTH
from harness.results.parquet import RESTORE, as_array, read_parquet, to_parquet
from harness.results.users import CatalogueItems


def lists_to_parquet(lists: Ints, item_ids: tuple[str, ...]) -> bytes:
    """A Parquet file with the column `items`: for each user the recommended item ids, best first.

    Args:
        lists: int64 [n_users, length], dense item indices; -1 after the last item of a row.
        item_ids: ids by dense item index.
    """
    listed = lists >= 0
    items, codes = np.unique(lists[listed], return_inverse=True)
    ids = pa.DictionaryArray.from_arrays(codes.astype(np.int32), pa.array([item_ids[i] for i in items], pa.string()))
    offsets = np.concatenate([[0], np.cumsum(listed.sum(axis=1))]).astype(np.int32)
    return to_parquet({"items": pa.ListArray.from_arrays(offsets, ids)})


def lists_from_parquet(path: Path, catalogue: CatalogueItems, n_users: int) -> Ints:
    """Reads a file that `lists_to_parquet` wrote.

    Returns:
        int64 [n_users, LIST_LENGTH], dense item indices; -1 after the last item of a row.

    Raises:
        HarnessError: the file is missing, holds something else, or names an item that the catalogue lacks.
    """
    column = read_parquet(path, "recommendation lists", ["items"])["items"].combine_chunks()
    if not pa.types.is_list(column.type) or column.null_count or len(column) != n_users:
        raise HarnessError(f"{path} does not hold a list of items for each of {n_users:,} users.", RESTORE)
    lengths = np.diff(as_array(column.offsets))
    values = column.flatten()
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    unknown = next((item for item in values.dictionary.to_pylist() if item not in catalogue.index), None)
    if unknown is not None or values.null_count or lengths.max(initial=0) > LIST_LENGTH:
        reason = f"item {unknown!r} is not in the catalogue" if unknown is not None else "a list is not whole"
        raise HarnessError(f"{path}: {reason}.", RESTORE)
    dense = np.array([catalogue.index[item] for item in values.dictionary.to_pylist()], dtype=np.int64)
    lists = np.full((n_users, LIST_LENGTH), -1, dtype=np.int64)
    lists[np.arange(LIST_LENGTH) < lengths[:, None]] = dense[as_array(values.indices)]
    return lists
