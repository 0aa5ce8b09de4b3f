"""Locks between processes, so that work is not done twice; a waiting process names the one it waits for."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from harness.errors import HarnessError

#: Shows the user one line.
Tell = Callable[[str], None]


def tell_stderr(line: str) -> None:
    """Print one line to standard error."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def locked(path: Path, what: str, tell: Tell = tell_stderr) -> Iterator[None]:
    """Hold a lock that one process can hold at a time. It is released when the process ends, however that ends.

    Args:
        path: the lock file; it and its folder are created, and the file is removed afterwards.
        what: what this process does while it holds the lock, shown to waiting ones: `training LoRA on comedy`.
        tell: called with a line that names the process this one waits for.

    Raises:
        HarnessError: the file cannot be created or locked.
    """
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            tell(f"Waiting for {_holder(path)}.")
            lock.acquire(poll_interval=0.1)
        path.write_text(json.dumps({"process": os.getpid(), "does": what}), encoding="utf-8")
    except (OSError, NotImplementedError) as error:
        lock.release()
        raise HarnessError(
            f"Cannot lock {path}: {getattr(error, 'strerror', None) or error}.",
            "Free some space or choose another folder with --output-dir or --cache-dir.",
        ) from error
    try:
        yield
    finally:
        # Removed while it is held: a waiting process sees that the file is gone, and creates another.
        path.unlink(missing_ok=True)
        lock.release()


@contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Like `locked`, but without waiting; yields whether the lock is held."""
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except (Timeout, OSError, NotImplementedError):
        yield False
        return
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def remove_stale_locks(folder: Path) -> None:
    """Remove the lock files that dead processes left in a folder."""
    for path in folder.glob("*.lock"):
        with locked_if_free(path):
            pass


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"process {holder['process']}, which is {holder['does']}"
    except (OSError, ValueError, LookupError, TypeError):
        return f"another process, which holds {path}"
