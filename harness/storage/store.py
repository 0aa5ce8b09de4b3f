"""A content-addressed store: folders named by their inputs, written atomically, verified when read."""

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
#: The folders of checkpoints and of locks; all others hold a kind of entry each.
UNFINISHED, LOCKS = "unfinished", "locks"


@dataclass(frozen=True)
class Stored:
    """A verified folder of the store, with the notes of its manifest."""

    folder: Path
    notes: dict[str, Any]


class Store:
    """Folders below `root`, addressed by kind and key.

    Args:
        root: the folder of the store.
        tell: prints a line for the user, such as that this process waits for another.
    """

    def __init__(self, root: Path, tell: Tell = tell_stderr) -> None:
        self.root = root
        self.tell = tell

    def has(self, kind: str, key: str) -> bool:
        """Whether the folder exists; its content is not checked."""
        return self._folder(kind, key).is_dir()

    def read(self, kind: str, key: str, use: bool = True) -> Stored:
        """Open a folder and check that its files are complete and unchanged.

        Args:
            kind: such as `lora` or `run`.
            key: its name.
            use: whether to note that it was used now, for `harness cache prune --unused`.

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
                "Delete that folder and run the command again.",
            ) from error

    @contextmanager
    def write(self, kind: str, key: str, notes: dict[str, Any]) -> Iterator[Path]:
        """Give a temporary folder to fill; store it when the block ends, with the notes as they are then.

        Raises:
            HarnessError: the store cannot be written to.
        """
        with folder_atomically(self._folder(kind, key)) as folder:
            yield folder
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            content = {
                "files": {path.relative_to(folder).as_posix(): file_digest(path) for path in files},
                "notes": notes,
            }
            manifest = {**content, "sha256": digest(content)}
            (folder / _MANIFEST).write_text(canonical_json(manifest), encoding="utf-8")

    def remove(self, kind: str, key: str) -> None:
        """Remove a folder, if it is there."""
        remove(self._folder(kind, key))

    def locked(self, kind: str, key: str, what: str) -> AbstractContextManager[None]:
        """Lock a folder that this process makes; wait while another process makes it."""
        return locked(self.lock_path(kind, key), what, self.tell)

    def lock_path(self, kind: str, key: str) -> Path:
        """The lock file of a folder."""
        return self.root / LOCKS / f"{kind}-{key}.lock"

    def unfinished_path(self, kind: str, key: str) -> Path:
        """The file that an interrupted training of this folder resumes from."""
        return self.root / UNFINISHED / f"{kind}-{key}.checkpoint"

    def _folder(self, kind: str, key: str) -> Path:
        return self.root / kind / key


def default_store_root() -> Path:
    """The store of the cache folder that `HARNESS_CACHE` names, as `--cache-dir` does; `.harness` otherwise."""
    return Path(os.environ.get("HARNESS_CACHE", ".harness"), "store").absolute()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and verify the manifest of a stored folder: `files` (name -> SHA-256) and `notes`.

    Raises:
        OSError, ValueError, KeyError, TypeError: it is missing, changed or unreadable.
    """
    manifest = dict(json.loads((folder / _MANIFEST).read_text(encoding="utf-8")))
    # Early manifests have no digest.
    if manifest.pop("sha256", None) not in (None, digest(manifest)):
        raise ValueError(f"{_MANIFEST} has changed")
    return manifest
