"""Artefacts in the store: their keys, training them, and keeping account of which a run used."""

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.errors import HarnessError
from harness.methods.artefact import Artefact, MakeContext, StepCallback, no_progress
from harness.results.record import ArtefactCost, ArtefactRecord
from harness.run.memory import PeakMemory
from harness.run.provenance import TRAINING_CODE, package_versions
from harness.storage.code_identity import code_digest
from harness.storage.files import digest
from harness.storage.store import Store
from harness.training.checkpoint import Checkpoint
from harness.training.distributed import SINGLE_PROCESS, ProcessGroup


def artefact_key(artefact: Artefact) -> str:
    """SHA-256 (hex) of what decides an artefact's content: its inputs, the code that makes it, versions of packages."""
    return digest(
        {
            "kind": artefact.kind,
            "inputs": dict(artefact.inputs),
            "made_from": [artefact_key(part) for part in artefact.made_from],
            "code": code_digest(artefact.make, *artefact.depends_on, *TRAINING_CODE),
            "packages": package_versions(),
        }
    )


def train(
    artefact: Artefact, store: Store, device: str, report: StepCallback, processes: ProcessGroup = SINGLE_PROCESS
) -> None:
    """Trains an artefact into the store, unless it is there; goes on where a training of it was killed.

    While another process trains it, this one waits for what comes out.
    """
    key = artefact_key(artefact)
    with store.locked(artefact.kind, key, f"training {artefact.label}"):
        # Processes that train together all do their part, or wait for each other for ever.
        if processes.count > 1 or not store.has(artefact.kind, key):
            _train(artefact, key, store, device, report, processes)


def _train(
    artefact: Artefact, key: str, store: Store, device: str, report: StepCallback, processes: ProcessGroup
) -> None:
    notes: dict[str, Any] = {"label": artefact.label}
    checkpoint = Checkpoint(store.unfinished_path(artefact.kind, key), tell=store.tell)
    with store.write(artefact.kind, key, notes) as folder, PeakMemory(device) as peak:
        record = artefact.make(folder, MakeContext(device, report, checkpoint, processes))
        if processes.count > 1:
            record = dataclasses.replace(record, notes={**record.notes, "processes": processes.count})
        notes |= {
            "record": dataclasses.asdict(record),
            "wall_s": checkpoint.spent,
            "peak_memory_mb": peak.megabytes(),
            "peak_gpu_memory_mb": peak.gpu_megabytes(),
        }
    checkpoint.remove()


def train_along(artefact: Artefact, store: Store, device: str, processes: ProcessGroup) -> None:
    """This process's part in a training of which the main process stores what comes out, by `train`."""
    with tempfile.TemporaryDirectory() as folder:
        # What it goes on from is told by the main process.
        checkpoint = Checkpoint(store.unfinished_path(artefact.kind, artefact_key(artefact)), tell=store.tell)
        artefact.make(Path(folder), MakeContext(device, no_progress, checkpoint, processes))


class RunArtefacts:
    """The artefacts of one run: takes them from the store, trains what is missing, remembers what was used.

    Args:
        store: where they are kept.
        device: `cpu` or `cuda`.
        report: told how far a training is.
        failed: by key, why a training has failed already: it is not tried again.
    """

    def __init__(
        self, store: Store, device: str, report: StepCallback, failed: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._store, self._device, self._report, self._failed = store, device, report, failed
        self.records: list[ArtefactRecord] = []
        self.costs: list[ArtefactCost] = []

    def get_or_train(self, artefact: Artefact) -> Path:
        """The folder with the artefact's files; trains it first if it was never trained.

        Raises:
            HarnessError: it is in the store, but corrupt; or its training has failed.
        """
        key = artefact_key(artefact)
        if key in self._failed:
            raise HarnessError(
                f"The training of {artefact.label} failed: {self._failed[key]}", "The next command tries it again."
            )
        if not self._store.has(artefact.kind, key):
            train(artefact, self._store, self._device, self._report)
        stored = self._store.read(artefact.kind, key)
        # The label is the asker's: a hybrid is one artefact whichever of its domains is the target.
        identity = {"label": artefact.label, "key": key}
        record = {"kind": artefact.kind, **identity, **stored.notes["record"]}
        self.records.append(ArtefactRecord.model_validate(record))
        cost = {name: stored.notes.get(name) for name in ("wall_s", "peak_memory_mb", "peak_gpu_memory_mb")}
        self.costs.append(ArtefactCost.model_validate({**identity, **cost}))
        return stored.folder
