"""Where results and leaderboards are. Imports little, so that a command can look before it computes."""

from pathlib import Path

from harness.errors import HarnessError


class NoResultsError(HarnessError):
    """There are no results to make a board of."""


#: Folders of results that boards show, beside that of results itself, and of records of runs that were made again.
BESIDE = ("submissions", "reproduced")


def boards_in(folder: Path, suite: str | None = None) -> list[tuple[str, int]]:
    """Names and versions of the suites with results or accepted submissions, or the versions of one of them."""
    return sorted(
        {
            (path.parent.name, int(path.name[1:]))
            for parent in (folder, folder.parent / BESIDE[0])
            for path in parent.glob(f"{suite or '*'}/v*")
            if path.is_dir() and path.name[1:].isdecimal()
        }
    )


def board_path(output_dir: Path, suite: str, version: int) -> Path:
    """The file of a suite's leaderboard."""
    return output_dir / f"{suite}-v{version}.md"
