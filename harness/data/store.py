"""Prepared domains on disk: Parquet and a manifest, written whole, verified by fingerprint when read."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.data.domain import Catalogue, Domain, Sequences
from harness.data.prepare import Preparation, prepare_into
from harness.data.raw import Report, silent
from harness.data.reading import missing_file
from harness.data.sources import Source
from harness.errors import HarnessError
from harness.files import check_writable, digest, folder_atomically, write_atomically
from harness.identity import code_digest

_MANIFEST = "manifest.json"


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

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self, source: Source, name: str, k_core: int, folder: Path, report: Report = silent) -> Prepared:
        """Reads, prepares and stores a domain, unless that was done with the same files and the same code.

        Files are the same if path, size and time of change are: to hash a large dump takes longer than to use it.

        Args:
            source: where it comes from.
            name: its name.
            k_core: see `prepare_into`.
            folder: the data folder.
            report: told how far it is.

        Raises:
            HarnessError: a file is missing or broken, nothing is left, or the store cannot be written to.
        """
        note = self.root / "prepared" / f"{_origin(source, k_core, folder)}.json"
        known = _read_note(note)
        if known is not None and (self.root / known.fingerprint).is_dir():
            return Prepared(known, fresh=False)
        check_writable(self.root)
        with tempfile.TemporaryDirectory(dir=self.root, prefix=".preparing-") as scratch:
            made = prepare_into(Path(scratch), source.open(name, folder, report), k_core, report)
            self._keep(Path(scratch), made)
        write_atomically(note, json.dumps(made.as_json(), indent=1))
        return Prepared(made, fresh=True)

    def _keep(self, scratch: Path, made: Preparation) -> None:
        """Moves what was prepared to the folder of its fingerprint, where it may stand already."""
        final = self.root / made.fingerprint
        if final.exists():
            return
        (scratch / _MANIFEST).write_text(
            json.dumps({"fingerprint": made.fingerprint, "timed": made.timed}), encoding="utf-8"
        )
        with folder_atomically(final) as place:
            for file in list(scratch.iterdir()):
                file.rename(place / file.name)

    def load(self, fingerprint: str, name: str) -> Domain:
        """Loads a stored domain and checks that its content is what the fingerprint says.

        Raises:
            HarnessError: it is not stored, cannot be read, or has changed.
        """
        folder = self.root / fingerprint
        mend = "Delete that folder and run the command again: it will be prepared anew."
        try:
            manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
            domain = read_domain(folder, name, bool(manifest["timed"]))
        except (OSError, KeyError, ValueError, TypeError, pa.ArrowException) as error:
            raise HarnessError(f"Prepared domain {folder} cannot be read ({type(error).__name__}).", mend) from error
        if domain.fingerprint != fingerprint:
            raise HarnessError(f"Prepared domain {folder} does not match its fingerprint.", mend)
        return domain


def read_domain(folder: Path, name: str, timed: bool) -> Domain:
    """Reads the Parquet files that `prepare_into` wrote, without checking them.

    Raises:
        OSError, KeyError, ValueError, pa.ArrowException: they are not there or not whole.
    """
    users = pq.read_table(folder / "users.parquet")["user_id"].to_pylist()
    catalogue = pq.read_table(folder / "catalogue.parquet")
    events = pq.read_table(folder / "interactions.parquet")
    lengths = np.bincount(events["user"].to_numpy(), minlength=len(users))
    return Domain(
        name=name,
        catalogue=Catalogue(tuple(catalogue["item_id"].to_pylist()), tuple(catalogue["text"].to_pylist())),
        user_ids=tuple(users),
        interactions=Sequences(
            np.concatenate([[0], np.cumsum(lengths)]),
            events["item"].to_numpy(),
            events["timestamp"].to_numpy(),
        ),
        timed=timed,
    )


def _origin(source: Source, k_core: int, folder: Path) -> str:
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
            "files": stats,
            "code": code_digest(type(source), prepare_into),
        }
    )


def _read_note(note: Path) -> Preparation | None:
    """What was noted about an earlier preparation; None if there was none, or its note is of no use."""
    try:
        fields = json.loads(note.read_text(encoding="utf-8"))
        for findings in ("dropped", "noted"):
            fields[findings] = {reason: (count, first) for reason, (count, first) in fields[findings].items()}
        return Preparation(**fields)
    except (OSError, ValueError, TypeError, KeyError):
        return None
