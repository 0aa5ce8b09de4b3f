"""Atomic files and folders, and digests of their content."""

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

#: Suffix of temporary files and folders. The process that fills one holds a lock on it.
_UNFINISHED = ".unfinished"


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces, the same text for equal values; NaN is refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON value's canonical text."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file completely or not at all; create its folder.

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
                # mkstemp creates files that only the owner may read.
                temporary.chmod(0o644)
                temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def folder_atomically(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends, and is removed if the block raises.

    If another process creates `path` in the meantime, its folder stays: equal names mean equal content here.

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
    """A hidden folder next to `path` that is removed when the block ends, unless it was moved.

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


def _locked(create: Callable[[], tuple[Path, int]]) -> tuple[Path, int]:
    """Create a temporary file or folder and lock it. The lock ends with this process at the latest."""
    while True:
        path, handle = create()
        # On a file system without locks, leftovers are never removed.
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        # Another process may have removed it as a leftover before it was locked.
        if path.exists():
            return path, handle
        os.close(handle)


def leftovers(root: Path) -> list[Path]:
    """Temporary files and folders below `root` that dead processes left: nobody holds the lock on them."""
    abandoned = []
    for path in _unfinished(root):
        with _try_lock(path) as locked:
            if locked:
                abandoned.append(path)
    return abandoned


def remove_leftovers(root: Path, deep: bool = True) -> list[Path]:
    """Remove temporary files and folders that dead processes left below `root`.

    Those of a running process are never removed.

    Args:
        root: where to look.
        deep: whether to look in its folders too.

    Returns:
        The removed paths.
    """
    removed = []
    for path in _unfinished(root, deep):
        with _try_lock(path) as locked:  # until it is removed: its creator may be about to lock it
            if locked:
                remove(path)
                removed.append(path)
    return removed


def _unfinished(root: Path, deep: bool = True) -> list[Path]:
    unfinished = []
    for folder, folders, files in os.walk(root):
        hidden = [name for name in (*folders, *files) if name.startswith(".") and name.endswith(_UNFINISHED)]
        folders[:] = [name for name in folders if deep and name not in hidden]
        unfinished += [Path(folder, name) for name in hidden]
    return sorted(unfinished)


@contextmanager
def _try_lock(path: Path) -> Iterator[bool]:
    """Lock a temporary file or folder unless another process holds the lock; yield whether it is locked here."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        locked = True
    except OSError:
        locked = False
    try:
        yield locked
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Remove a file, or a folder with its content, if it exists; a folder never stays behind half removed."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
    elif path.name.endswith(_UNFINISHED):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with temporary_folder(path) as trash, suppress(FileNotFoundError):
            path.rename(trash / path.name)


def check_writable(folder: Path) -> None:
    """Check that files can be created in a folder, before hours of work depend on it; create the folder.

    Raises:
        HarnessError: they cannot.
    """
    with _writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


#: Messages of the operating system for a full disk and a used-up quota.
DISK_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))


@contextmanager
def disk_full_errors(folder: Path) -> Iterator[None]:
    """Turn any library's error about a full disk into a `HarnessError`.

    Raises:
        HarnessError: the disk of the folder is full.
    """
    try:
        yield
    except OSError as error:
        # pyarrow's errors have no errno.
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
