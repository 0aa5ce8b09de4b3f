"""Read a prepared domain from the Parquet files that `harness.data.prepare` writes."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from harness.data.domain import Catalogue, Domain, Sequences

#: File names inside the folder of a prepared domain.
USERS, CATALOGUE, INTERACTIONS = "users.parquet", "catalogue.parquet", "interactions.parquet"


def read_domain(folder: Path, name: str, timed: bool) -> Domain:
    """Read a prepared domain without verifying it.

    Args:
        folder: of the files.
        name: the domain's name.
        timed: whether timestamps are instants.

    Raises:
        OSError, KeyError, ValueError, pa.ArrowException: a file is missing or broken.
    """
    users = pq.read_table(folder / USERS)
    user_ids = users["user_id"].to_pylist()
    train_only = users["train_only"].to_numpy() if "train_only" in users.column_names else np.zeros(len(users), bool)
    catalogue = pq.read_table(folder / CATALOGUE)
    events = pq.read_table(folder / INTERACTIONS)
    lengths = np.bincount(events["user"].to_numpy(), minlength=len(user_ids))
    return Domain(
        name=name,
        catalogue=Catalogue(tuple(catalogue["item_id"].to_pylist()), tuple(catalogue["text"].to_pylist())),
        user_ids=tuple(user_ids),
        interactions=Sequences(
            np.concatenate([[0], np.cumsum(lengths)]),
            events["item"].to_numpy(),
            events["timestamp"].to_numpy(),
        ),
        timed=timed,
        train_only=tuple(np.flatnonzero(train_only).tolist()),
    )
