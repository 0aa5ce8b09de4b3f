"""Prepared domains on disk: Parquet and a manifest, written whole, verified by fingerprint when read."""

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from harness.data.domain import Catalogue, Domain, Sequences
from harness.data.prepare import Preparation, prepare_into
from harness.data.raw import Report, silent
from harness.data.sources import Source
from harness.data.streams import missing_file
from harness.data.ties import HASHED, TieOrder
from harness.errors import HarnessError
from harness.files import check_writable, digest, folder_atomically, source_digest, write_atomically

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

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(
        self,
        source: Source,
        name: str,
        k_core: int,
        folder: Path,
        report: Report = silent,
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
        note = self.root / "prepared" / f"{_origin(source, k_core, ties, folder)}.json"
        known = _read_note(note)
        if known is not None and _is_current(self.root / known.fingerprint):
            return Prepared(known, fresh=False)
        check_writable(self.root)
        with tempfile.TemporaryDirectory(dir=self.root, prefix=".preparing-") as scratch:
            made = prepare_into(Path(scratch), source.open(name, folder, report), k_core, report, ties)
            self._keep(Path(scratch), made)
        write_atomically(note, json.dumps(made.as_json(), indent=1))
        return Prepared(made, fresh=True)

    def _keep(self, scratch: Path, made: Preparation) -> None:
        """Moves what was prepared to the folder of its fingerprint, where it may stand already."""
        final = self.root / made.fingerprint
        if _is_current(final):
            return
        shutil.rmtree(final, ignore_errors=True)
        manifest = {"fingerprint": made.fingerprint, "timed": made.timed, "time_unit": _TIME_UNIT}
        (scratch / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
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
    people = pq.read_table(folder / "users.parquet")
    users = people["user_id"].to_pylist()
    marks = people["train_only"].to_numpy() if "train_only" in people.column_names else np.zeros(len(users), bool)
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
        train_only=tuple(np.flatnonzero(marks).tolist()),
    )


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
            "code": source_digest("harness.data"),
        }
    )


def _is_current(folder: Path) -> bool:
    """Whether a domain is stored there, as this version stores it."""
    try:
        return bool(json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["time_unit"] == _TIME_UNIT)
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _read_note(note: Path) -> Preparation | None:
    """What was noted about an earlier preparation; None if there was none, or its note is of no use."""
    try:
        return _NOTE.validate_json(note.read_bytes())
    except (OSError, ValueError):
        return None
