"""The order of events of one user at one instant: files that are sorted by item would otherwise decide it."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

#: `hashed`: by a keyed hash of the event. `file`: as the file has them, for logs whose lines are in true order.
TieRule = Literal["hashed", "file"]


@dataclass(frozen=True)
class TieOrder:
    """How events of one user with equal timestamps are ordered.

    Attributes:
        rule: see `TieRule`.
        seed: key of the hash; another seed is another order, as good as any.
    """

    rule: TieRule = "hashed"
    seed: int = 0

    def __str__(self) -> str:
        return self.rule if self.rule == "file" else f"hashed, seed {self.seed}"


#: The order that holds unless another is named.
HASHED = TieOrder()


def tie_key(seed: int, user_id: str, item_id: str, occurrence: int) -> str:
    """What a tied event is sorted by: the first 16 hex digits of SHA-256, the same on every machine.

    It depends on nothing but the event: not on its place in the file, nor on how its ids compare with others.
    Lengths (in bytes) stand before the ids, so that no two events share a message.

    Args:
        seed: the key.
        user_id, item_id: original ids.
        occurrence: how many-th time this user had this item, from 1.
    """
    user, item = user_id.encode(), item_id.encode()
    message = b"%d:%d:%b:%d:%b:%d" % (seed, len(user), user, len(item), item, occurrence)
    return sha256(message).hexdigest()[:16]


#: `tie_key` in SQL over columns user_id, item_id and occurrence, with $seed.
TIE_KEY_SQL = (
    "left(sha256($seed || ':' || strlen(user_id) || ':' || user_id || ':' || strlen(item_id) || ':' || item_id "
    "|| ':' || occurrence), 16)"
)
