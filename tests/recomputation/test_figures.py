import pytest

from tests.recomputation.test_boards import same


@pytest.mark.parametrize(
    ("cell", "equal"), [("**0.2600 ± 0.0100**†", True), ("0.2601 ± 0.0100", False), ("0.2600", False), ("–", False)]
)
def test_a_wrong_digit_is_noticed(cell: str, equal: bool) -> None:
    assert same(cell, 0.26004, 0.00996) == equal
