"""Boards and claim pages, read from the cache if the same code made them from the same files before."""

import json
import platform
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.extensions import COLUMNS, LIST_METRICS, METRICS, has_other_packages
from harness.report.folders import BESIDE, boards_in
from harness.storage.files import digest, file_digest
from harness.storage.store import Store

if TYPE_CHECKING:
    from harness.report.collect import Board

#: Gives the digests of the files of a suite and version.
_Files = Callable[[str, int], dict[str, str]]

#: Kind of the entries in the store. There is one for each report; a newer one replaces it.
KIND = "report"
_CONTENT = "report.json"

#: Files that reports are made from.
_SUFFIXES = (".json", ".parquet", ".yaml")

#: Packages that compute or print figures.
_PACKAGES = ("numpy", "pyarrow", "pydantic", "pyyaml", "scipy", "tabulate")


@dataclass(frozen=True)
class BoardReport:
    """What a command shows of a board.

    Attributes:
        text: the leaderboard in markdown.
        overview: its table of all methods and scenarios.
        leaks: a line for each scenario whose training data may hold test events or later ones.
    """

    text: str
    overview: str
    leaks: tuple[str, ...]


class Reports:
    """The reports of a folder of results.

    Args:
        results: the folder.
        store: where reports are kept.
    """

    def __init__(self, results: Path, store: Store) -> None:
        self._results, self._store = results, store
        self._files = cache(self._read_files)
        self._board = cache(self._collect)

    def board(self, suite: str, number: int) -> BoardReport:
        """The board of a version of a suite.

        Raises:
            NoResultsError: it has no results.
            HarnessError: a result cannot be read, or some cannot stand in one table.
        """

        def make() -> dict[str, Any]:
            return asdict(_report(self._board(suite, number)))

        made = self._cached(f"board of {suite}/v{number}", lambda files: files(suite, number), make)
        return BoardReport(made["text"], made["overview"], tuple(made["leaks"]))

    def claim_page(self, path: Path) -> str:
        """The page of a claims file, as markdown.

        Raises:
            HarnessError: the file or a result cannot be read.
        """

        def inputs(files: _Files) -> object:
            return [file_digest(path), *(files(*board) for board in boards_in(self._results))]

        page: str = self._cached(f"claims of {path.stem}", inputs, lambda: self._claim_page(path))
        return page

    def _claim_page(self, path: Path) -> str:
        from harness.report.claims import claim_page, read_claims

        numbers = {f"{suite}/v{number}": (suite, number) for suite, number in boards_in(self._results)}
        return claim_page(read_claims(path), lambda name: self._board(*numbers[name]) if name in numbers else None)

    def _cached(self, label: str, inputs: Callable[[_Files], object], make: Callable[[], Any]) -> Any:
        """What was made before from these inputs by this code, or what `make` makes now, as JSON holds it."""
        code = _code()
        if code is None:
            return make()
        state, key = digest([code, inputs(self._files)]), digest([label, str(self._results.resolve())])
        with suppress(HarnessError, OSError, ValueError, KeyError):  # there is none, or it is damaged
            stored = self._store.read(KIND, key)
            if stored.notes["inputs"] == state:
                return json.loads((stored.folder / _CONTENT).read_text(encoding="utf-8"))
        made = make()
        if digest([code, inputs(self._read_files)]) == state:  # no file has changed meanwhile
            with suppress(HarnessError, OSError):  # the report is shown also where the cache cannot be written to
                self._store.remove(KIND, key)
                with self._store.write(KIND, key, {"label": label, "inputs": state}) as folder:
                    (folder / _CONTENT).write_text(json.dumps(made), encoding="utf-8")
        return made

    def _read_files(self, suite: str, number: int) -> dict[str, str]:
        """SHA-256 (hex) of each file of a version of a suite; empty if it has no results."""
        root = self._results.parent
        folders = [parent / suite / f"v{number}" for parent in (self._results, *(root / name for name in BESIDE))]
        paths = sorted(path for folder in folders for path in folder.rglob("*") if path.suffix in _SUFFIXES)
        return {path.relative_to(root).as_posix(): file_digest(path) for path in paths}

    def _collect(self, suite: str, number: int) -> "Board":
        from harness.report.collect import collect

        return collect(self._results, suite, number)


def _report(board: "Board") -> BoardReport:
    from harness.report.leaderboard import leaderboard
    from harness.report.overview import overview
    from harness.report.time_guard import is_free_of_leakage, time_guard

    first = {name: entries[0].results[0] for name, entries in board.scenarios.items()}
    leaks = [f"{name}: {time_guard(result)}" for name, result in first.items() if not is_free_of_leakage(result)]
    return BoardReport(leaderboard(board), overview(board).summary.markdown, tuple(leaks))


def _code() -> str | None:
    """A digest of the code that makes reports; None if other packages add to it: theirs may change unnoticed."""
    return None if any(map(has_other_packages, (COLUMNS, METRICS, LIST_METRICS))) else _own_code()


@cache
def _own_code() -> str:
    folder = Path(__file__).parents[1]  # the package
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    versions = {name: version(name) for name in _PACKAGES}
    return digest(
        [platform.python_version(), versions, {p.relative_to(folder).as_posix(): file_digest(p) for p in files}]
    )
