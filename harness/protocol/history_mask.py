"""The items that a user's history takes out of the candidates."""

import numpy as np
from numpy.typing import NDArray

from harness.data.domain import Ints, Sequences


def seen_mask(histories: Sequences, n_items: int) -> NDArray[np.bool_]:
    """True where an item is in the user's history: bool [n_users, n_items]."""
    mask = np.zeros((len(histories), n_items), dtype=bool)
    mask[histories.users, histories.items] = True
    return mask


def seen_pairs(histories: Sequences, held_out: Ints, n_items: int) -> tuple[Ints, Ints]:
    """The distinct (user, item) pairs of histories, without the held-out items, which always stay candidates.

    Args:
        histories: n_users histories.
        held_out: int64 [n_users], the held-out items.
        n_items: size of the catalogue.

    Returns:
        Users and items: int64 [n_pairs] each.
    """
    keys = np.unique(histories.users * n_items + histories.items)
    users, items = keys // n_items, keys % n_items
    others = items != held_out[users]
    return users[others], items[others]
