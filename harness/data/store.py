"""Prepared domains on disk: Parquet and a manifest, written whole, verified by fingerprint when read."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.data.domain import Catalogue, Domain, Sequences
from harness.errors import HarnessError
from harness.files import folder_atomically


def save(domain: Domain, root: Path) -> str:
    """Stores a domain under its fingerprint, if it is not there yet.

    Returns:
        The fingerprint, which `load` takes.
    """
    fingerprint = domain.fingerprint
    folder = root / fingerprint
    if not folder.exists():
        with folder_atomically(folder) as new:
            pq.write_table(pa.table({"user_id": domain.user_ids}), new / "users.parquet")
            catalogue = {"item_id": domain.catalogue.item_ids, "text": domain.catalogue.texts}
            pq.write_table(pa.table(catalogue), new / "catalogue.parquet")
            events = domain.interactions
            columns = {"user": events.users, "item": events.items, "timestamp": events.timestamps}
            pq.write_table(pa.table(columns), new / "interactions.parquet")
            manifest = {"name": domain.name, "fingerprint": fingerprint}
            (new / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return fingerprint


def load(fingerprint: str, name: str, root: Path) -> Domain:
    """Loads a stored domain and checks that its content is what the fingerprint says.

    Raises:
        HarnessError: it is not stored, cannot be read, or has changed.
    """
    folder = root / fingerprint
    mend = "Delete that folder and run the command again: it will be prepared anew."
    try:
        users = pq.read_table(folder / "users.parquet")["user_id"].to_pylist()
        catalogue = pq.read_table(folder / "catalogue.parquet")
        events = pq.read_table(folder / "interactions.parquet")
        lengths = np.bincount(events["user"].to_numpy(), minlength=len(users))
        domain = Domain(
            name=name,
            catalogue=Catalogue(tuple(catalogue["item_id"].to_pylist()), tuple(catalogue["text"].to_pylist())),
            user_ids=tuple(users),
            interactions=Sequences(
                np.concatenate([[0], np.cumsum(lengths)]),
                events["item"].to_numpy(),
                events["timestamp"].to_numpy(),
            ),
        )
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise HarnessError(f"Prepared domain {folder} cannot be read ({type(error).__name__}).", mend) from error
    if domain.fingerprint != fingerprint:
        raise HarnessError(f"Prepared domain {folder} does not match its fingerprint.", mend)
    return domain
