"""Errors the user can fix. Any other exception is a bug."""

import difflib
from collections.abc import Iterable
from typing import Self

#: Longest message shown, in characters.
_MAX_LENGTH = 1200


class HarnessError(Exception):
    """An error the user can fix.

    Args:
        what: the problem, naming the file, row or option.
        hint: what to do about it, as an imperative.

    The terminal shows both in one line and exits with 2.
    """

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what, hint)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        # What was found may be a name of ten thousand characters.
        what = self.what if len(self.what) <= _MAX_LENGTH else f"{self.what[: _MAX_LENGTH - 200]} … {self.what[-200:]}"
        return one_line(f"{what} {self.hint}")

    @classmethod
    def unknown(cls, kind: str, name: str, known: Iterable[str], hint: str = "") -> Self:
        """An unknown name, with the nearest known ones suggested.

        >>> str(HarnessError.unknown("method", "weverec", ["weaverec", "joint"]))
        "Unknown method 'weverec'. Did you mean 'weaverec'? Known: joint, weaverec."
        """
        names = sorted(known)
        lower = {known_name.lower(): known_name for known_name in names}
        near = difflib.get_close_matches(name.lower(), lower, n=2, cutoff=0.5)
        question = f"Did you mean {' or '.join(repr(lower[n]) for n in near)}? " if near else ""
        return cls(f"Unknown {kind} {name!r}.", f"{question}Known: {', '.join(names)}.{hint and ' ' + hint}")


class UnavailableError(HarnessError):
    """Something that this machine lacks, such as a package: what needs it is skipped, all else can go on."""


class DivergedError(HarnessError, FloatingPointError):
    """A training that came to nothing, as with too high a learning rate; a tuner counts it as a failed trial."""


def one_line(text: str) -> str:
    r"""A text as one line that moves no cursor and sets no colour: control characters by their escapes.

    >>> one_line("two\nlines, a bell\x07")
    'two lines, a bell\\x07'
    """
    spaced = "".join(" " if c.isspace() else c for c in text)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in spaced)
