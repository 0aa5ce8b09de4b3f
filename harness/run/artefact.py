"""Trains artefacts into the store, and records which of them a run used."""

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.errors import HarnessError
from harness.methods.artefact import Artefact, MakeContext, StepCallback, no_progress
from harness.results.record import ArtefactCost, ArtefactRecord, EnergyRecord
from harness.run.energy import EnergyMeter, EnergyTracking
from harness.run.memory import PeakMemory
from harness.run.provenance import TRAINING_CODE, package_versions, timed_on
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
    artefact: Artefact,
    store: Store,
    device: str,
    report: StepCallback,
    processes: ProcessGroup = SINGLE_PROCESS,
    energy: EnergyTracking | None = None,
) -> None:
    """Train an artefact into the store, unless it is there; resume an interrupted training.

    While another process trains the same artefact, this one waits for it.

    Args:
        artefact: what to train.
        store: where it goes.
        device: `cpu` or `cuda`.
        report: progress callback.
        processes: that train together; of several, no energy is tracked.
        energy: how energy is tracked. None: it is not.
    """
    key = artefact_key(artefact)
    with store.locked(artefact.kind, key, f"training {artefact.label}"):
        # Processes that train together must all take part, or the others would wait forever.
        if processes.count > 1 or not store.has(artefact.kind, key):
            meter = EnergyMeter(energy if processes.count == 1 else None)
            _train(artefact, key, store, device, report, processes, meter)


def _train(
    artefact: Artefact,
    key: str,
    store: Store,
    device: str,
    report: StepCallback,
    processes: ProcessGroup,
    meter: EnergyMeter,
) -> None:
    notes: dict[str, Any] = {"label": artefact.label}
    with store.write(artefact.kind, key, notes) as folder:
        with meter:  # a tracker takes seconds to start, which are not of the training
            checkpoint = Checkpoint(store.unfinished_path(artefact.kind, key), tell=store.tell)
            with PeakMemory(device) as peak:
                record = artefact.make(folder, MakeContext(device, report, checkpoint, processes))
            spent = checkpoint.spent
        if processes.count > 1:
            record = dataclasses.replace(record, notes={**record.notes, "processes": processes.count})
        notes |= {
            "record": dataclasses.asdict(record),
            **spent,
            "peak_memory_mb": peak.megabytes(),
            "peak_gpu_memory_mb": peak.gpu_megabytes(),
            "device": device,
            "hardware": timed_on(device),
            "energy": meter.record and meter.record.model_dump(mode="json"),
        }
    if meter.failure:
        store.tell(f"The energy of training {artefact.label} was not tracked: {meter.failure}")
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
        energy: how the energy of trainings is tracked. None: it is not.

    Attributes:
        records: of the artefacts that were used.
        costs: of their trainings.
        tracked: energy of those that this run trained itself.
    """

    def __init__(
        self,
        store: Store,
        device: str,
        report: StepCallback,
        failed: Mapping[str, str] = MappingProxyType({}),
        energy: EnergyTracking | None = None,
    ) -> None:
        self._store, self._device, self._report, self._failed = store, device, report, failed
        self._energy = energy
        self.records: list[ArtefactRecord] = []
        self.costs: list[ArtefactCost] = []
        self.tracked: list[EnergyRecord] = []

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
        is_new = not self._store.has(artefact.kind, key)
        if is_new:
            train(artefact, self._store, self._device, self._report, energy=self._energy)
        stored = self._store.read(artefact.kind, key)
        # The label is this run's: a hybrid is one artefact whichever of its domains is the target.
        identity = {"label": artefact.label, "key": key}
        record = {"kind": artefact.kind, **identity, **stored.notes["record"]}
        self.records.append(ArtefactRecord.model_validate(record))
        cost = {name: stored.notes[name] for name in ArtefactCost.model_fields.keys() & stored.notes.keys()}
        self.costs.append(ArtefactCost.model_validate({**cost, **identity}))
        if is_new and self.costs[-1].energy is not None:
            self.tracked.append(self.costs[-1].energy)
        return stored.folder
