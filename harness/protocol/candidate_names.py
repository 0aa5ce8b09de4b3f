"""Names of candidate sets, as suite files and boards write them: `full`, `sampled-30`."""

import re
from importlib.metadata import EntryPoint

from harness.errors import HarnessError
from harness.extensions import CANDIDATE_SETS, extensions


def find_candidate_set(name: str) -> tuple[EntryPoint, int]:
    """The entry point of a candidate set by its name in a suite file, and the number in the name.

    An entry point `sampled-N` stands for all of `sampled-2`, `sampled-3`, ...; one without -N for its name alone.

    Returns:
        The entry point, and N, or 0 for a name without a number.

    Raises:
        HarnessError: there is no such candidate set, or N is below 2.
    """
    entries = extensions(CANDIDATE_SETS)
    if name in entries and not name.endswith("-N"):
        return entries[name], 0
    match = re.fullmatch(r"(.+)-(\d{1,9})", name)
    if match is None or f"{match[1]}-N" not in entries or int(match[2]) < 2:
        raise HarnessError(
            f"Unknown candidates {name!r}.", f"Write {_alternatives(list(entries))}, with N of 2 or more."
        )
    return entries[f"{match[1]}-N"], int(match[2])


def candidate_count(name: str) -> int:
    """The number at the end of a candidate set's name, 0 without one: 30 for `sampled-30`."""
    match = re.search(r"-(\d{1,9})$", name)
    return int(match[1]) if match else 0


def _alternatives(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else "".join(names)
