"""Writing files so that a reader finds all of them or nothing, and digests that name their content."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.errors import HarnessError

#: What a temporary file or folder ends in. Its maker holds a lock on it for as long as it is being filled.
_UNFINISHED = ".unfinished"


def canonical_json(value: Any) -> str:
    """One spelling for equal values: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON value's canonical spelling."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file whole or not at all; makes its folder.

    Raises:
        HarnessError: the folder cannot be written to.
    """
    with _writable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, handle = _locked(lambda: _new_file(path))
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
                # mkstemp makes files for the owner alone; results are there to be read.
                temporary.chmod(0o644)
                temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def folder_atomically(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends, and vanishes if the block raises.

    If another process put `path` there meanwhile, theirs stays: equal names mean equal content here.

    Raises:
        HarnessError: the folder's parent cannot be written to.
    """
    with temporary_folder(path) as temporary:
        yield temporary
        temporary.chmod(0o755)
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path` that is removed when the block ends, unless it was moved.

    Raises:
        HarnessError: the folder's parent cannot be written to.
    """
    with _writable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, handle = _locked(lambda: _new_folder(path))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(handle)


def _new_file(path: Path) -> tuple[Path, int]:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_UNFINISHED)
    return Path(name), handle


def _new_folder(path: Path) -> tuple[Path, int]:
    folder = tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=_UNFINISHED)
    return Path(folder), os.open(folder, os.O_RDONLY)


def _locked(make: Callable[[], tuple[Path, int]]) -> tuple[Path, int]:
    """A new temporary file or folder with a lock on it, which ends with this process at the latest."""
    while True:
        path, handle = make()
        # Where a file system has no locks, leftovers are left alone.
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        # Between the two, another process may have taken it for a leftover.
        if path.exists():
            return path, handle
        os.close(handle)


def leftovers(root: Path) -> list[Path]:
    """Temporary files and folders below `root` whose makers are dead: nobody holds the lock on them."""
    found = []
    for path in _unfinished(root):
        with _taken(path) as free:
            if free:
                found.append(path)
    return found


def remove_leftovers(root: Path, deep: bool = True) -> list[Path]:
    """Removes what dead processes left unfinished below `root`; never what a live process is filling.

    Args:
        root: where to look.
        deep: in its folders too.

    Returns:
        What was removed.
    """
    removed = []
    for path in _unfinished(root, deep):
        with _taken(path) as free:  # until it is gone: its maker may be about to lock it
            if free:
                remove(path)
                removed.append(path)
    return removed


def _unfinished(root: Path, deep: bool = True) -> list[Path]:
    found = []
    for folder, folders, files in os.walk(root):
        hidden = [name for name in (*folders, *files) if name.startswith(".") and name.endswith(_UNFINISHED)]
        folders[:] = [name for name in folders if deep and name not in hidden]
        found += [Path(folder, name) for name in hidden]
    return sorted(found)


@contextmanager
def _taken(path: Path) -> Iterator[bool]:
    """Holds the lock on a temporary file or folder, if nobody else does; gives whether it holds it."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = True
    except OSError:
        free = False
    try:
        yield free
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Removes a file or a folder with all that is in it, if it is there; never leaves a half of a folder behind."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
    elif path.name.endswith(_UNFINISHED):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with temporary_folder(path) as doomed, suppress(FileNotFoundError):
            path.rename(doomed / path.name)


def check_writable(folder: Path) -> None:
    """Fails now rather than after an hour's training.

    Raises:
        HarnessError: a file cannot be made in the folder.
    """
    with _writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


#: What messages say when a disk, or a user's share of it, is full.
DISK_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))


@contextmanager
def told_if_full(folder: Path) -> Iterator[None]:
    """Says in one line that the disk of a folder is full, whichever library meets it.

    Raises:
        HarnessError: it is full.
    """
    try:
        yield
    except OSError as error:
        # pyarrow's have no errno.
        if not any(words in str(error) for words in DISK_FULL):
            raise
        raise HarnessError(
            f"Writing in {folder} failed: {DISK_FULL[0]}.", "Free some disk space, or choose another --cache-dir."
        ) from error


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HarnessError(
            f"Cannot write to {folder}: {error.strerror or error}.",
            "Free some space or choose another folder with --output-dir or --cache-dir.",
        ) from error
