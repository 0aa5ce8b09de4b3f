"""Raw interactions -> Domain: deduplication, k-core, stable order, dense indices."""

import numpy as np
import pandas as pd

from harness.data.domain import Catalogue, Domain, Sequences
from harness.data.raw import RawDomain
from harness.errors import HarnessError


def prepare(raw: RawDomain, k_core: int = 5) -> Domain:
    """Prepares one domain as the protocol says.

    Exact duplicate rows go (repeat interactions at another time stay); then the k-core; then a stable sort by
    time, so that ties keep the input's order. Users and items are numbered in the order of their ids' text.

    Args:
        raw: what a source read.
        k_core: least number of interactions of every user and item that stays.

    Raises:
        HarnessError: nothing is left, or an item has no text.
    """
    frame = raw.interactions.drop_duplicates(["user_id", "item_id", "timestamp"])
    frame = k_core_of(frame, k_core)
    if frame.empty:
        raise HarnessError(
            f"Domain {raw.name!r}: no interaction is left by the {k_core}-core.",
            "Lower k_core in the suite file, or check the source.",
        )
    frame = frame.sort_values("timestamp", kind="stable")

    item_ids = sorted(frame["item_id"].unique())
    texts = raw.items.set_index("item_id")["text"].reindex(item_ids)
    if texts.isna().any():
        missing = texts.index[texts.isna()]
        raise HarnessError(
            f"Domain {raw.name!r}: {len(missing)} items have no text, the first is {missing[0]!r}.",
            "Give every item a text in the source's item file.",
        )
    user_ids = sorted(frame["user_id"].unique())
    users = frame["user_id"].map({user: index for index, user in enumerate(user_ids)}).to_numpy()
    items = frame["item_id"].map({item: index for index, item in enumerate(item_ids)}).to_numpy()
    order = users.argsort(kind="stable")
    lengths = pd.Series(users).value_counts().reindex(range(len(user_ids))).to_numpy()
    return Domain(
        name=raw.name,
        catalogue=Catalogue(tuple(item_ids), tuple(texts)),
        user_ids=tuple(user_ids),
        interactions=Sequences(
            offsets=np.concatenate([[0], lengths.cumsum()]),
            items=items[order],
            timestamps=frame["timestamp"].to_numpy()[order],
        ),
    )


def k_core_of(frame: pd.DataFrame, k: int) -> pd.DataFrame:
    """Drops users and items with fewer than k rows, repeatedly, until none is left to drop."""
    while True:
        before = len(frame)
        for column in ("user_id", "item_id"):
            frame = frame[frame.groupby(column)[column].transform("size") >= k]
        if len(frame) == before:
            return frame
