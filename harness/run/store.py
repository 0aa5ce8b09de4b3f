"""The store of what was made: folders named by what went into them, written whole, verified when read."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.files import canonical_json, file_digest, folder_atomically
from harness.resuming import Checkpoint

_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Stored:
    """A verified folder of the store, and what its maker noted in the manifest."""

    folder: Path
    notes: dict[str, Any]


class Store:
    """Folders below `root`, addressed by kind and key."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def has(self, kind: str, key: str) -> bool:
        """Whether it was made; says nothing about its state."""
        return self._folder(kind, key).is_dir()

    def read(self, kind: str, key: str) -> Stored:
        """A folder whose files are all there and unchanged.

        Raises:
            HarnessError: a file is missing, changed or unreadable.
        """
        folder = self._folder(kind, key)
        try:
            manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
            digests = dict(manifest["files"])
            for name, digest in digests.items():
                if file_digest(folder / name) != digest:
                    raise ValueError(f"{name} has changed")
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
            manifest = {
                "files": {path.relative_to(folder).as_posix(): file_digest(path) for path in files},
                "notes": notes,
            }
            (folder / _MANIFEST).write_text(canonical_json(manifest), encoding="utf-8")

    def checkpoint(self, kind: str, key: str) -> Checkpoint:
        """From which the making of a folder goes on, if it was killed."""
        return Checkpoint(self.root / "unfinished" / f"{kind}-{key}.safetensors")

    def _folder(self, kind: str, key: str) -> Path:
        return self.root / kind / key
