"""Prepared domains on disk: Parquet and a manifest, written whole, verified by fingerprint when read."""

import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
from pydantic import TypeAdapter

from harness.data.domain import Domain
from harness.data.domain_files import read_domain
from harness.data.prepare import Preparation, prepare_into
from harness.data.records import ReadProgress, no_read_progress
from harness.data.sources import Source
from harness.data.streams import missing_file
from harness.data.ties import HASHED, TieOrder
from harness.errors import HarnessError
from harness.storage.code_identity import code_digest
from harness.storage.files import (
    check_writable,
    digest,
    disk_full_errors,
    folder_atomically,
    temporary_folder,
    write_atomically,
)
from harness.storage.locks import Tell, locked, tell_stderr

_MANIFEST = "manifest.json"
_NOTE = TypeAdapter(Preparation)
#: Of stored timestamps; earlier versions stored seconds and did not say so.
_TIME_UNIT = "ns"


@dataclass(frozen=True)
class Prepared:
    """A prepared domain in the store.

    Attributes:
        made: what preparing it made and met.
        fresh: whether it was prepared just now, rather than found.
    """

    made: Preparation
    fresh: bool


class DomainStore:
    """Prepared domains below `root`, by fingerprint, and what each was prepared from."""

    def __init__(self, root: Path, tell: Tell = tell_stderr) -> None:
        self.root = root
        self._tell = tell

    def prepare(
        self,
        source: Source,
        name: str,
        k_core: int,
        folder: Path,
        report: ReadProgress = no_read_progress,
        ties: TieOrder = HASHED,
    ) -> Prepared:
        """Reads, prepares and stores a domain, unless that was done with the same files and the same code.

        Files are the same if path, size and time of change are: to hash a large dump takes longer than to use it.

        Args:
            source: where it comes from.
            name: its name.
            k_core: see `prepare_into`.
            folder: the data folder.
            report: told how far it is.
            ties: see `prepare_into`.

        Raises:
            HarnessError: a file is missing or broken, nothing is left, or the store cannot be written to.
        """
        origin = _origin(source, k_core, ties, folder)
        note = self.root / "prepared" / f"{origin}.json"
        if known := self._known(note):
            return Prepared(known, fresh=False)
        check_writable(self.root)
        with locked(self.root / "locks" / f"{origin}.lock", f"preparing {name}", self._tell):
            if known := self._known(note):  # by another command meanwhile
                return Prepared(known, fresh=False)
            with disk_full_errors(self.root), temporary_folder(self.root / name) as scratch:
                made = prepare_into(scratch, source.open(name, folder, report), k_core, report, ties)
                self._keep(scratch, made, name)
            _write_note(note, made)
        return Prepared(made, fresh=True)

    def _known(self, note: Path) -> Preparation | None:
        known = _read_note(note)
        return known if known is not None and _is_current(self.root / known.fingerprint) else None

    def _keep(self, scratch: Path, made: Preparation, name: str) -> None:
        """Moves what was prepared to the folder of its fingerprint, where it may stand already."""
        final = self.root / made.fingerprint
        if _is_current(final):
            return
        shutil.rmtree(final, ignore_errors=True)
        manifest = {"fingerprint": made.fingerprint, "timed": made.timed, "time_unit": _TIME_UNIT, "name": name}
        (scratch / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        with folder_atomically(final) as place:
            for file in list(scratch.iterdir()):
                file.rename(place / file.name)

    def load(self, fingerprint: str, name: str, use: bool = True) -> Domain:
        """Loads a stored domain and checks that its content is what the fingerprint says.

        Args:
            fingerprint: of the content.
            name: the domain's name.
            use: whether this counts as a use of it, by which it is known how long it has been of none.

        Raises:
            HarnessError: it is not stored, cannot be read, or has changed.
        """
        folder = self.root / fingerprint
        hint = "Delete that folder and run the command again: it will be prepared anew."
        try:
            manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
            domain = read_domain(folder, name, bool(manifest["timed"]))
        except (OSError, KeyError, ValueError, TypeError, pa.ArrowException) as error:
            raise HarnessError(f"Prepared domain {folder} cannot be read ({type(error).__name__}).", hint) from error
        if domain.fingerprint != fingerprint:
            raise HarnessError(f"Prepared domain {folder} does not match its fingerprint.", hint)
        if use:
            with suppress(OSError):  # a store may be read-only
                os.utime(folder / _MANIFEST)
        return domain


def _origin(source: Source, k_core: int, ties: TieOrder, folder: Path) -> str:
    """What a domain is prepared from: equal for equal options, files and code."""
    stats = []
    for path in source.files(folder):
        try:
            stat = path.stat()
        except OSError as error:
            raise missing_file(path) from error
        stats.append([str(path.resolve()), stat.st_size, stat.st_mtime_ns])
    return digest(
        {
            "source": source.model_dump(mode="json"),
            "k_core": k_core,
            "ties": asdict(ties),
            "files": stats,
            "code": code_digest(type(source), prepare_into),
        }
    )


def _is_current(folder: Path) -> bool:
    """Whether a domain is stored there, as this version stores it."""
    try:
        return bool(json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["time_unit"] == _TIME_UNIT)
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _write_note(note: Path, made: Preparation) -> None:
    fields = made.as_json()
    write_atomically(note, json.dumps({**fields, "sha256": digest(fields)}, indent=1))


def _read_note(note: Path) -> Preparation | None:
    """What was noted about an earlier preparation; None if there was none, or its note is of no use."""
    try:
        fields = json.loads(note.read_text(encoding="utf-8"))
        if fields.pop("sha256", None) != digest(fields):
            return None
        return _NOTE.validate_python(fields)
    except (OSError, ValueError, TypeError, AttributeError):
        return None
