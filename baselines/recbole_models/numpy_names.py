"""Names that RecBole 1.2.1 needs and numpy 2 removed."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

#: Names that RecBole's `Config` reads and numpy 2.0 removed.
_READ = {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}

#: Names that RecBole's `Config` sets for RecBole's other modules.
_SET = ("bool", "int", "float", "complex", "object", "str", "long", "unicode")


@contextmanager
def numpy_1_names() -> Iterator[None]:
    """Add the names that RecBole reads to numpy; afterwards remove them and those that RecBole set."""
    # Not hasattr, which warns in numpy 1.26.
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
