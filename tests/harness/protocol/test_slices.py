"""Which users are cold, and which items are head."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.protocol.slices import slices_of
from harness.protocol.split import LeaveOneOut
from tests.conftest import domain_of


def cold(lengths: list[int]) -> np.ndarray:
    """Which of some users, by the length of their test histories, are cold."""
    domain = domain_of([[0] * (length + 1) for length in lengths], 3)
    return slices_of(LeaveOneOut().test(domain), LeaveOneOut().training(domain))["cold_users"]


@pytest.mark.parametrize(
    ("lengths", "share"),
    [
        ([4] * 32 + [5] * 19 + [6] * 49, 0.32),  # the third's longest history has 5 items: 51 % have no more
        ([4] * 10 + [5] * 30 + [6] * 60, 0.40),
        ([4] * 51 + [5] * 49, 0.51),  # no cut is nearer
        ([4] * 20 + [5] * 27 + [6] * 53, 0.20),  # 20 % is nearer to a third than 47 %
        ([4] * 100, 1.0),
        (list(range(2, 32)), 10 / 30),
    ],
)
def test_the_cold_cut_is_nearest_to_a_third(lengths: list[int], share: float) -> None:
    assert cold(lengths).mean() == pytest.approx(share)


@given(st.lists(st.integers(2, 6), min_size=1, max_size=40))
def test_no_cut_of_history_length_is_nearer_to_a_third(lengths: list[int]) -> None:
    members = cold(lengths)
    shares = [np.mean(np.array(lengths) <= cut) for cut in set(lengths)]
    assert abs(members.mean() - 1 / 3) == pytest.approx(min(abs(share - 1 / 3) for share in shares))
    assert members.any()
    # Users of one length are treated alike.
    assert {n for n, m in zip(lengths, members, strict=True) if m}.isdisjoint(
        {n for n, m in zip(lengths, members, strict=True) if not m}
    )
