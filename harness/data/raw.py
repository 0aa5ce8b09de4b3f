"""What a source reads, before any of it is prepared."""

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class RawDomain:
    """A domain as its source has it.

    Attributes:
        name: the domain's name in suites and results.
        interactions: user_id (str), item_id (str), timestamp (int64, Unix seconds), in the input's order.
        items: item_id (str, unique), text (str).
    """

    name: str
    interactions: pd.DataFrame
    items: pd.DataFrame
