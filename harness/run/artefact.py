"""Trains artefacts into the store, and records which of them a run used."""

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
    """SHA-256 (hex) of what decides an artefact's content: inputs, code and package versions."""
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
    """Train an artefact into the store, unless it is there; resume an interrupted training.

    While another process trains the same artefact, this one waits for it.
    """
    key = artefact_key(artefact)
    with store.locked(artefact.kind, key, f"training {artefact.label}"):
        # Processes that train together must all take part, or the others would wait forever.
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
            **checkpoint.spent,
            "peak_memory_mb": peak.megabytes(),
            "peak_gpu_memory_mb": peak.gpu_megabytes(),
        }
    checkpoint.remove()


def train_along(artefact: Artefact, store: Store, device: str, processes: ProcessGroup) -> None:
    """Take part in a training whose artefact the main process stores by `train`."""
    with tempfile.TemporaryDirectory() as folder:
        # The main process broadcasts the checkpoint it resumes from.
        checkpoint = Checkpoint(store.unfinished_path(artefact.kind, artefact_key(artefact)), tell=store.tell)
        artefact.make(Path(folder), MakeContext(device, no_progress, checkpoint, processes))


class RunArtefacts:
    """The artefacts of one run: read from the store, or trained if they are missing; records what was used.

    Args:
        store: where artefacts are kept.
        device: `cpu` or `cuda`.
        report: progress callback.
        failed: why trainings failed earlier in this command, by key; they are not tried again.
    """

    def __init__(
        self, store: Store, device: str, report: StepCallback, failed: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._store, self._device, self._report, self._failed = store, device, report, failed
        self.records: list[ArtefactRecord] = []
        self.costs: list[ArtefactCost] = []

    def get_or_train(self, artefact: Artefact) -> Path:
        """Return the folder with the artefact's files, after training it if it is not in the store.

        Raises:
            HarnessError: the stored artefact is corrupt, or its training failed.
        """
        key = artefact_key(artefact)
        if key in self._failed:
            raise HarnessError(
                f"The training of {artefact.label} failed: {self._failed[key]}", "The next command tries it again."
            )
        if not self._store.has(artefact.kind, key):
            train(artefact, self._store, self._device, self._report)
        stored = self._store.read(artefact.kind, key)
        # The label is this run's: a hybrid is one artefact whichever of its domains is the target.
        identity = {"label": artefact.label, "key": key}
        record = {"kind": artefact.kind, **identity, **stored.notes["record"]}
        self.records.append(ArtefactRecord.model_validate(record))
        cost = {name: stored.notes.get(name) for name in ("wall_s", "cpu_s", "peak_memory_mb", "peak_gpu_memory_mb")}
        self.costs.append(ArtefactCost.model_validate({**identity, **cost}))
        return stored.folder
