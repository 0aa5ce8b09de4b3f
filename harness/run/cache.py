"""What a cache folder holds, for people: which entries, whether they are whole, and which can go."""

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.domain_store import DomainStore
from harness.errors import HarnessError
from harness.storage.files import leftovers, remove
from harness.storage.locks import locked_if_free
from harness.storage.store import LOCKS, UNFINISHED, Store, read_manifest

#: Kinds beside those of the store: a prepared domain, what a killed training goes on from, and half of something.
DOMAIN, CHECKPOINT, LEFTOVER = "domain", "checkpoint", "leftover"


@dataclass(frozen=True)
class CacheEntry:
    """Something in a cache.

    Attributes:
        kind: what it is: `domain`, `run`, a kind of artefact such as `lora`, `checkpoint` or `leftover`.
        key: its name there.
        label: what it is, for people; empty where it does not say.
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
class Pruned:
    """An entry that goes, and why: `unfinished`, `corrupt` or `unused`."""

    entry: CacheEntry
    reason: str


def entries(cache: Path) -> list[CacheEntry]:
    """Everything in a cache folder, by kind and label."""
    store, domains = cache / "store", cache / "domains"
    found = [_entry(LEFTOVER, path, "") for path in leftovers(cache)]
    for folder in _folders(domains):
        if folder.name not in ("prepared", LOCKS):
            found.append(_entry(DOMAIN, folder, _label(folder)))
    for kind in _folders(store):
        if kind.name == UNFINISHED:
            found += [_entry(CHECKPOINT, path, "") for path in kind.iterdir() if not path.name.startswith(".")]
        elif kind.name != LOCKS:
            found += [_entry(kind.name, folder, _label(folder)) for folder in _folders(kind)]
    return sorted(found, key=lambda entry: (entry.kind, entry.label, entry.key))


def fault(entry: CacheEntry, cache: Path) -> str | None:
    """What is wrong with an entry, by its hashes; None where nothing is.

    A checkpoint is checked when a training goes on from it.
    """
    if entry.kind == LEFTOVER:
        return "left by a command that was killed"
    if entry.kind == CHECKPOINT:
        return None
    try:
        if entry.kind == DOMAIN:
            DomainStore(cache / "domains").load(entry.key, entry.label, use=False)
        else:
            Store(cache / "store").read(entry.kind, entry.key, use=False)
    except HarnessError as error:
        return error.what
    return None


def prunable(cache: Path, unused_days: float | None = None) -> Iterator[Pruned]:
    """Entries that can go: unfinished, corrupt, and on request those that no command has read for some days."""
    for entry in entries(cache):
        if entry.kind in (LEFTOVER, CHECKPOINT):
            yield Pruned(entry, "unfinished")
        elif unused_days is not None and time.time() - entry.used > unused_days * 86400:
            yield Pruned(entry, "unused")
        elif fault(entry, cache):
            yield Pruned(entry, "corrupt")


def prune(cache: Path, chosen: Iterable[Pruned]) -> list[Pruned]:
    """Removes entries, but none that another process is at work on.

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
    if entry.kind in (DOMAIN, LEFTOVER):  # domains are moved whole, and a leftover was found to be nobody's
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
        manifest: dict[str, Any] = read_manifest(folder)
        return str(manifest["name"] if "name" in manifest else manifest["notes"].get("label", ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
