"""RecBole 1.2.1 reads names that numpy 2 no longer has."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

#: What RecBole's `Config` reads, and numpy 2.0 removed.
_READ = {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}

#: What RecBole's `Config` sets, for RecBole's other modules to read.
_SET = ("bool", "int", "float", "complex", "object", "str", "long", "unicode")


@contextmanager
def numpy_1_names() -> Iterator[None]:
    """Gives numpy the names that RecBole reads, and afterwards takes away those and what RecBole set."""
    # Not hasattr: numpy 1.26 answers that with a warning.
    names = vars(np)
    before = {name: names[name] for name in (*_READ, *_SET) if name in names}
    for name, value in _READ.items():
        names.setdefault(name, value)
    try:
        yield
    finally:
        for name in (*_READ, *_SET):
            names.pop(name, None)
        names.update(before)
