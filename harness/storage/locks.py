"""Locks between processes: what must be made once is made once, and who waits says for whom."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from harness.errors import HarnessError

#: Tells the user one line.
Tell = Callable[[str], None]


def tell_stderr(line: str) -> None:
    """Tells the user one line on the standard error."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def locked(path: Path, what: str, tell: Tell = tell_stderr) -> Iterator[None]:
    """Holds a lock that one process can hold at a time. It ends with the process, however that ends.

    Args:
        path: the lock file; it and its folder are made, and the file is removed afterwards.
        what: what this process does meanwhile, for those who wait: `training LoRA on comedy`.
        tell: told of whom this process waits for.

    Raises:
        HarnessError: the file cannot be made or locked.
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
        # Removed while it is held: who waits for it sees that its file is gone, and makes another.
        path.unlink(missing_ok=True)
        lock.release()


@contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Like `locked`, but does not wait; gives whether it holds the lock."""
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
    """Removes the lock files that dead processes left in a folder."""
    for path in folder.glob("*.lock"):
        with locked_if_free(path):
            pass


def _holder(path: Path) -> str:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return f"process {told['process']}, which is {told['does']}"
    except (OSError, ValueError, LookupError, TypeError):
        return f"another process, which holds {path}"
