"""The store of what was made: folders named by what went into them, written whole, verified when read."""

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.storage.files import canonical_json, digest, file_digest, folder_atomically, remove
from harness.storage.locks import Tell, locked, tell_stderr

_MANIFEST = "manifest.json"
#: The folder of what trainings that were killed go on from, and that of locks: the others are kinds.
UNFINISHED, LOCKS = "unfinished", "locks"


@dataclass(frozen=True)
class Stored:
    """A verified folder of the store, and what its maker noted in the manifest."""

    folder: Path
    notes: dict[str, Any]


class Store:
    """Folders below `root`, addressed by kind and key.

    Args:
        root: where they are.
        tell: told one line where a user should know something: whom a process waits for, what starts anew.
    """

    def __init__(self, root: Path, tell: Tell = tell_stderr) -> None:
        self.root = root
        self.tell = tell

    def has(self, kind: str, key: str) -> bool:
        """Whether it was made; says nothing about its state."""
        return self._folder(kind, key).is_dir()

    def read(self, kind: str, key: str, use: bool = True) -> Stored:
        """A folder whose files are all there and unchanged.

        Args:
            kind: what it is.
            key: its name.
            use: whether this counts as a use of it, by which it is known how long it has been of none.

        Raises:
            HarnessError: a file is missing, changed or unreadable.
        """
        folder = self._folder(kind, key)
        try:
            manifest = read_manifest(folder)
            for name, sha256 in dict(manifest["files"]).items():
                if file_digest(folder / name) != sha256:
                    raise ValueError(f"{name} has changed")
            if use:
                with suppress(OSError):  # a store may be read-only
                    os.utime(folder / _MANIFEST)
            return Stored(folder, dict(manifest["notes"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = str(error) if type(error) is ValueError else f"{type(error).__name__} on reading it"
            raise HarnessError(
                f"Corrupt cached artefact {folder}: {reason}.",
                "Delete that folder and run the command again: it will be made anew.",
            ) from error

    @contextmanager
    def write(self, kind: str, key: str, notes: dict[str, Any]) -> Iterator[Path]:
        """A folder to fill; it is stored when the block ends, with the notes as they are then.

        Raises:
            HarnessError: the store cannot be written to.
        """
        with folder_atomically(self._folder(kind, key)) as folder:
            yield folder
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            told = {
                "files": {path.relative_to(folder).as_posix(): file_digest(path) for path in files},
                "notes": notes,
            }
            manifest = {**told, "sha256": digest(told)}
            (folder / _MANIFEST).write_text(canonical_json(manifest), encoding="utf-8")

    def remove(self, kind: str, key: str) -> None:
        """Remove a folder, if it is there."""
        remove(self._folder(kind, key))

    def locked(self, kind: str, key: str, what: str) -> AbstractContextManager[None]:
        """Makes a folder this process's to make; waits while another makes it. See `harness.storage.locks.locked`."""
        return locked(self.lock_path(kind, key), what, self.tell)

    def lock_path(self, kind: str, key: str) -> Path:
        """The lock file of a folder that is being made."""
        return self.root / LOCKS / f"{kind}-{key}.lock"

    def unfinished_path(self, kind: str, key: str) -> Path:
        """The file that an interrupted training of this folder resumes from."""
        return self.root / UNFINISHED / f"{kind}-{key}.checkpoint"

    def _folder(self, kind: str, key: str) -> Path:
        return self.root / kind / key


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a stored folder, verified: `files` (name -> SHA-256) and `notes`.

    Raises:
        OSError, ValueError, KeyError, TypeError: it is missing, changed or unreadable.
    """
    manifest = dict(json.loads((folder / _MANIFEST).read_text(encoding="utf-8")))
    # What was stored before manifests had a digest is still good.
    if manifest.pop("sha256", None) not in (None, digest(manifest)):
        raise ValueError(f"{_MANIFEST} has changed")
    return manifest
