"""Entries of a cache folder: list them, check them, remove those that can go."""

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.storage.files import leftovers, remove
from harness.storage.locks import locked_if_free
from harness.storage.store import LOCKS, UNFINISHED, Store, read_manifest

#: Kinds beside those of the store: a checkpoint of an interrupted training, and a temporary file of a killed command.
CHECKPOINT, LEFTOVER = "checkpoint", "leftover"


@dataclass(frozen=True)
class CacheEntry:
    """Something in a cache.

    Attributes:
        kind: a kind of the store such as `domain`, `run` or `lora`; `checkpoint` or `leftover`.
        key: its name there.
        label: what it is, for people; empty where it has none.
        size: bytes.
        used: when a command last made or read it, in Unix seconds.
        path: where it is.
    """

    kind: str
    key: str
    label: str
    size: int
    used: float
    path: Path


@dataclass(frozen=True)
class Prunable:
    """An entry that can go, and why: `unfinished`, `corrupt` or `unused`."""

    entry: CacheEntry
    reason: str


def entries(cache: Path) -> list[CacheEntry]:
    """List everything in a cache folder, by kind and label."""
    listed = [_entry(LEFTOVER, path, "") for path in leftovers(cache)]
    for kind in _folders(cache / "store"):
        if kind.name == UNFINISHED:
            listed += [_entry(CHECKPOINT, path, "") for path in kind.iterdir() if not path.name.startswith(".")]
        elif kind.name != LOCKS:
            listed += [_entry(kind.name, folder, _label(folder)) for folder in _folders(kind)]
    return sorted(listed, key=lambda entry: (entry.kind, entry.label, entry.key))


def fault(entry: CacheEntry, cache: Path) -> str | None:
    """What is wrong with an entry, by its hashes; None where nothing is.

    A checkpoint is checked when a training resumes from it.
    """
    if entry.kind == LEFTOVER:
        return "left by a command that was killed"
    if entry.kind == CHECKPOINT:
        return None
    try:
        Store(cache / "store").read(entry.kind, entry.key, use=False)
    except HarnessError as error:
        return error.what
    return None


def prunable(cache: Path, unused_days: float | None = None) -> Iterator[Prunable]:
    """Entries that can go: unfinished, corrupt, and on request those that no command has read for some days."""
    for entry in entries(cache):
        if entry.kind in (LEFTOVER, CHECKPOINT):
            yield Prunable(entry, "unfinished")
        elif unused_days is not None and time.time() - entry.used > unused_days * 86400:
            yield Prunable(entry, "unused")
        elif fault(entry, cache):
            yield Prunable(entry, "corrupt")


def prune(cache: Path, chosen: Iterable[Prunable]) -> list[Prunable]:
    """Remove entries, but none that another process is working on.

    Returns:
        What was removed.
    """
    removed = []
    for each in chosen:
        with _lock(cache, each.entry) as free:
            if free:
                remove(each.entry.path)
                removed.append(each)
    return removed


def _lock(cache: Path, entry: CacheEntry) -> AbstractContextManager[bool]:
    store = Store(cache / "store")
    if entry.kind == CHECKPOINT:
        kind, _, key = entry.path.stem.rpartition("-")
        return locked_if_free(store.lock_path(kind, key))
    if entry.kind == LEFTOVER:  # its maker is known to be dead
        return nullcontext(True)
    return locked_if_free(store.lock_path(entry.kind, entry.key))


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."] if folder.is_dir() else []


def _entry(kind: str, path: Path, label: str) -> CacheEntry:
    files = [path, *(path.rglob("*") if path.is_dir() else ())]
    stats = [file.lstat() for file in files]
    return CacheEntry(
        kind,
        path.name,
        label,
        sum(s.st_size for s, f in zip(stats, files, strict=True) if not f.is_dir()),
        max(s.st_mtime for s in stats),
        path,
    )


def _label(folder: Path) -> str:
    try:
        return str(read_manifest(folder)["notes"].get("label", ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
