"""Learning-rate schedules."""

import math


def cosine_factor(step: int, steps: int, warm_up: int = 0) -> float:
    """Factor of the peak learning rate: a linear rise, then half a cosine down to zero.

    Args:
        step: steps (or epochs) made so far, from 0.
        steps: steps in all.
        warm_up: steps of the linear rise; 0 for none.
    """
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))
