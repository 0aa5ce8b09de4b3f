"""Training a component outside the harness' command line, as in a notebook."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.errors import HarnessError
from harness.methods.artefact import MakeContext, StepCallback, no_progress
from harness.protocol.split import TrainingData
from harness.protocol.suite import Budget
from harness.training.checkpoint import Checkpoint
from weaverec.merging.api import Component, Mix
from weaverec.retriever.train import ComponentSettings, component

#: Of a component that is trained by itself: the settings' steps limit it.
_BUDGET = Budget(trials=1, epochs=1_000_000, patience=1_000_000)


def train_component(
    data: TrainingData,
    mix: Mix,
    folder: Path,
    settings: ComponentSettings | None = None,
    seed: int = 0,
    device: str = "cpu",
    report: StepCallback = no_progress,
) -> Component:
    """Train one LoRA component of the retriever, and write it into a folder in PEFT's format.

    The weights of the best validation NDCG@10 are kept, mean over the domains of the mix.

    Args:
        data: train and validation of the domains.
        mix: the domains to train on: `(target,)`, or one of `hybrids(target, sources)`.
        folder: a new or empty folder.
        settings: of the training; `ComponentSettings()` by default.
        seed: of all random draws.
        device: `cpu` or `cuda`.
        report: called after each step with the steps done and the steps in total.

    Returns:
        The component, to be merged or folded.

    Raises:
        HarnessError: the folder holds something, or the data have no texts or validation events.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise HarnessError(f"{folder} is not empty.", "Name a new folder.")
    artefact = component(data, mix, settings or ComponentSettings(), _BUDGET, seed)
    with TemporaryDirectory() as scratch:
        record = artefact.make(folder, MakeContext(device, report, Checkpoint(Path(scratch) / "checkpoint")))
    (folder / "training.json").write_text(json.dumps({"mix": mix, "validation": record.validation}), encoding="utf-8")
    return Component(mix, folder, artefact)
