"""Prepared domains in the store: Parquet files named by the fingerprint of their content."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
from harness.storage.files import check_writable, digest, disk_full_errors, temporary_folder
from harness.storage.store import Store

#: Kinds in the store: a domain by its fingerprint, and what a preparation gave by what it started from.
DOMAIN, PREPARATION = "domain", "preparation"

_PREPARATION = TypeAdapter(Preparation)


@dataclass(frozen=True)
class PreparedDomain:
    """A domain in the store.

    Attributes:
        preparation: counts, dropped rows, fingerprint and tie audit.
        fresh: whether it was prepared just now rather than found in the store.
    """

    preparation: Preparation
    fresh: bool


def prepare_domain(
    store: Store,
    source: Source,
    name: str,
    k_core: int,
    folder: Path,
    report: ReadProgress = no_read_progress,
    ties: TieOrder = HASHED,
) -> PreparedDomain:
    """Read, prepare and store a domain, unless that was done with the same files and the same code.

    Files count as the same if path, size and modification time are: hashing a large dump takes longer than using it.

    Args:
        store: where it goes.
        source: how it is read.
        name: the domain's name.
        k_core: see `prepare_into`.
        folder: the data folder.
        report: progress callback.
        ties: see `prepare_into`.

    Raises:
        HarnessError: a file is missing or broken, no interaction is left, or the store cannot be written to.
    """
    key = _origin(source, k_core, ties, folder)
    if known := _read_preparation(store, key):
        return PreparedDomain(known, fresh=False)
    check_writable(store.root)
    with store.locked(PREPARATION, key, f"preparing {name}"):
        if known := _read_preparation(store, key):  # another command prepared it meanwhile
            return PreparedDomain(known, fresh=False)
        with disk_full_errors(store.root), temporary_folder(store.root / DOMAIN / name) as scratch:
            preparation = prepare_into(scratch, source.open(name, folder, report), k_core, report, ties)
            if not store.has(DOMAIN, preparation.fingerprint):
                notes = {"label": name, "timed": preparation.timed}
                with store.write(DOMAIN, preparation.fingerprint, notes) as final:
                    for file in list(scratch.iterdir()):
                        file.rename(final / file.name)
        with store.write(PREPARATION, key, {"label": name, "preparation": preparation.as_json()}):
            pass
    return PreparedDomain(preparation, fresh=True)


def load_domain(store: Store, fingerprint: str, name: str) -> Domain:
    """Load a stored domain and check its content against the fingerprint.

    Raises:
        HarnessError: it is not stored, cannot be read, or has changed.
    """
    stored = store.read(DOMAIN, fingerprint)
    hint = "Delete that folder and run the command again: it will be prepared anew."
    try:
        domain = read_domain(stored.folder, name, bool(stored.notes["timed"]))
    except (OSError, KeyError, ValueError, TypeError, pa.ArrowException) as error:
        raise HarnessError(f"Prepared domain {stored.folder} cannot be read ({type(error).__name__}).", hint) from error
    if domain.fingerprint != fingerprint:
        raise HarnessError(f"Prepared domain {stored.folder} does not match its fingerprint.", hint)
    return domain


def _origin(source: Source, k_core: int, ties: TieOrder, folder: Path) -> str:
    """Key of a preparation: equal for equal options, files and code."""
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


def _read_preparation(store: Store, key: str) -> Preparation | None:
    """An earlier preparation; None if there was none, its record is corrupt, or its domain is gone."""
    if not store.has(PREPARATION, key):
        return None
    try:
        notes: Mapping[str, Any] = store.read(PREPARATION, key).notes
        preparation = _PREPARATION.validate_python(notes["preparation"])
    except (HarnessError, KeyError, ValueError):
        store.remove(PREPARATION, key)
        return None
    return preparation if store.has(DOMAIN, preparation.fingerprint) else None
