"""What the tuner may choose for each baseline, in files that can be read."""

from pathlib import Path

from harness.tuning.space import Space


def load_space(name: str) -> Space:
    """A space of this folder."""
    return Space.read(Path(__file__).parent / f"{name}.yaml")
