"""Top-k recommendation lists and their computation from scores."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.domain import Ints, Sequences
from harness.errors import HarnessError

#: Items in each list that a run keeps.
LIST_LENGTH = 20
#: Scores handled at once, so that they stay in the processor's cache: 2 MB of float32.
_CACHED_SCORES = 2**19


@dataclass(frozen=True)
class Recommendations:
    """The items that a method recommends to the test users of a scenario.

    Attributes:
        items: int64 [n_users, length], dense item indices, best first; -1 after the last recommended item.
        popularity: int64 [n_items], training interactions of each item of the catalogue.
        user_ids: the data's own ids of the n_users test users.
    """

    items: Ints
    popularity: Ints
    user_ids: tuple[str, ...]

    def top(self, k: int) -> Ints:
        """The first k items of each list: int64 [n_users, k], -1 where there is none.

        Raises:
            HarnessError: the lists were cut at fewer than k items.
        """
        if k > self.items.shape[1]:
            raise HarnessError(f"The lists hold {self.items.shape[1]} items, not {k}.", "Use a smaller cutoff.")
        return self.items[:, :k]


#: A metric of lists and a cutoff: one number for all users, or float64 [n_users] with NaN for an empty list.
ListMetric = Callable[[Recommendations, int], "float | NDArray[np.float64]"]


def top_items(scores: NDArray[Any], n: int, excluded: Sequences | None = None) -> Ints:
    """The n best items of each row, best first; equal scores in the order of item indices.

    An item with the score -inf is not recommended.

    Args:
        scores: real numbers [n_users, n_items] without NaN outside the excluded items.
        n: items per user.
        excluded: for each user, items that are not recommended. None: there are none.

    Returns:
        int64 [n_users, n], -1 where a user has fewer items.
    """
    n_users, n_items = scores.shape
    lists = np.full((n_users, n), -1, dtype=np.int64)
    size = max(1, _CACHED_SCORES // n_items)
    for start in range(0, n_users, size):
        rows = np.arange(start, min(start + size, n_users))
        part = scores[rows]
        kept = np.ones(part.shape, dtype=bool)
        if excluded is not None:
            block = excluded.select(rows)
            kept[block.users, block.items] = False
            part[block.users, block.items] = _lowest(part.dtype)
        border = np.partition(part, max(n_items - n, 0), axis=1)[:, max(n_items - n, 0), None]
        chosen = part > border
        tied = (part == border) & kept & (border > -np.inf)
        n_free = n - np.count_nonzero(chosen, axis=1)
        crowded = np.flatnonzero(np.count_nonzero(tied, axis=1) > n_free)
        tied[crowded] &= np.cumsum(tied[crowded], axis=1) <= n_free[crowded, None]
        users, items = np.nonzero(chosen | tied)
        # Negating unsigned or boolean scores would change their order; ranks of the distinct values do not.
        order = np.lexsort((items, -np.unique(part[users, items], return_inverse=True)[1], users))
        position = np.arange(len(users)) - np.searchsorted(users, users)
        lists[start + users, position] = items[order]
    return lists


def _lowest(dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "f":
        return -np.inf
    return False if dtype.kind == "b" else np.iinfo(dtype).min
