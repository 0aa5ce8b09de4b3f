"""Which submissions a pull request changes."""

from pathlib import Path, PurePosixPath

from harness.errors import HarnessError
from harness.results.submission import SUBMISSIONS

#: Where a checkout has its submissions.
_HOME = PurePosixPath("leaderboards", SUBMISSIONS)


def changed_submissions(changed: Path, root: Path) -> list[Path]:
    """The folders of the submissions that a pull request changes.

    Args:
        changed: a file with the changed paths, each ended by a zero byte, as `git diff --name-only -z` writes them.
        root: the checkout with the changes.

    Raises:
        HarnessError: the file cannot be read, nothing is changed, or something besides submissions is.
    """
    try:
        names = [name.decode(errors="backslashreplace") for name in changed.read_bytes().split(b"\0") if name]
    except OSError as error:
        raise HarnessError(f"Cannot read {changed}: {error.strerror}.", "Name a file of paths.") from error
    folders: dict[Path, None] = {}
    for name in names:
        path = PurePosixPath(name)
        if path.parts[: len(_HOME.parts)] != _HOME.parts or ".." in path.parts or len(path.parts) < 6:
            raise HarnessError(
                f"{name}: not in the folder of a submission, {_HOME}/<suite>/v<version>/<method>.",
                "Open a pull request with submissions only; other changes go into one of their own.",
            )
        folder = root.joinpath(*path.parts[:5])
        if any(parent.is_symlink() for parent in (folder, *folder.parents)):
            raise HarnessError(f"{name}: its folder is a link.", "Put the folder itself in its place.")
        if not folder.is_dir():
            raise HarnessError(f"{name}: the submission is removed.", "Ask the maintainers to remove one.")
        folders[folder] = None
    if not folders:
        raise HarnessError(f"{changed} names no path.", "Add a submission.")
    return list(folders)
