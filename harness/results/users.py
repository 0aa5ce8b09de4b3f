"""The test users and the catalogue of a scenario: `users.parquet` and `items.parquet`, shared by all its results."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from harness.data.domain import Fingerprint, Ints
from harness.errors import HarnessError
from harness.results.parquet import RESTORE, as_array, read_parquet, to_parquet


@dataclass(frozen=True)
class TestUsers:
    """The test users of a scenario and their held-out items, in the order of the rows of ranks.

    Attributes:
        user_ids: the data's own ids, each once.
        item_ids: of each user's held-out item.
    """

    __test__ = False  # not a test class, whatever pytest thinks of its name

    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]

    def __len__(self) -> int:
        """Number of users."""
        return len(self.user_ids)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over the ids in order; not over a file's bytes, which depend on its writer."""
        sha = Fingerprint()
        sha.strings(self.user_ids)
        sha.strings(self.item_ids)
        return sha.hexdigest("s")

    def to_parquet(self) -> bytes:
        """A Parquet file with the columns `user_id` and `item_id`."""
        return to_parquet({"user_id": list(self.user_ids), "item_id": list(self.item_ids)})

    @classmethod
    def from_parquet(cls, path: Path) -> "TestUsers":
        """Reads a file that `to_parquet` wrote.

        Raises:
            HarnessError: the file is missing or holds something else.
        """
        table = read_parquet(path, "users", ["user_id", "item_id"])
        users, items = (tuple(map(str, table[name].to_pylist())) for name in ("user_id", "item_id"))
        _check_once(path, "user", users)
        return cls(users, items)


@dataclass(frozen=True)
class CatalogueItems:
    """The catalogue of a scenario's target with its training popularity, in the order of the dense item index.

    Attributes:
        item_ids: the data's own ids, each once.
        training_interactions: int64 [n_items].
    """

    item_ids: tuple[str, ...]
    training_interactions: Ints

    def __len__(self) -> int:
        """Number of items."""
        return len(self.item_ids)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over ids and counts in order."""
        sha = Fingerprint()
        sha.strings(self.item_ids)
        sha.integers(self.training_interactions)
        return sha.hexdigest("s")

    @cached_property
    def index(self) -> dict[str, int]:
        """Dense item index by id."""
        return {item: index for index, item in enumerate(self.item_ids)}

    def to_parquet(self) -> bytes:
        """A Parquet file with the columns `item_id` and `training_interactions`."""
        return to_parquet(
            {"item_id": list(self.item_ids), "training_interactions": self.training_interactions.astype(np.int64)}
        )

    @classmethod
    def from_parquet(cls, path: Path) -> "CatalogueItems":
        """Reads a file that `to_parquet` wrote.

        Raises:
            HarnessError: the file is missing or holds something else.
        """
        table = read_parquet(path, "items", ["item_id", "training_interactions"])
        counts = table["training_interactions"]
        if not pa.types.is_integer(counts.type) or counts.null_count:
            raise HarnessError(f"{path} is not a file of items: training_interactions are not counts.", RESTORE)
        items = cls(tuple(map(str, table["item_id"].to_pylist())), as_array(counts).astype(np.int64))
        _check_once(path, "item", items.item_ids)
        return items


def _check_once(path: Path, kind: str, ids: tuple[str, ...]) -> None:
    """Check that no id is there twice.

    Raises:
        HarnessError: one is; the message names the row.
    """
    if len(set(ids)) < len(ids):
        row = next(row for row, name in enumerate(ids) if ids.index(name) < row)
        raise HarnessError(f"{path}, row {row + 1:,}: {kind} {ids[row][:60]!r} stands in it twice.", RESTORE)
