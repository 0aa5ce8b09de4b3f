import math

import pytest

from harness.training.schedule import cosine_factor


def test_cosine_without_warm_up() -> None:
    assert cosine_factor(0, 10) == 1.0
    assert cosine_factor(5, 10) == pytest.approx(0.5)
    assert [cosine_factor(step, 7) for step in range(7)] == [
        0.5 * (1 + math.cos(math.pi * step / 7)) for step in range(7)
    ]


def test_warm_up_rises_to_the_peak() -> None:
    factors = [cosine_factor(step, 10, warm_up=4) for step in range(10)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[4] == 1.0
    assert factors[4:] == sorted(factors[4:], reverse=True)


def test_a_warm_up_as_long_as_the_training() -> None:
    assert [cosine_factor(step, 2, warm_up=2) for step in range(3)] == [0.5, 1.0, 1.0]
