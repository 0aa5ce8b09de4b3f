"""Contexts for making artefacts without a store."""

from pathlib import Path

from harness.methods.artefact import MakeContext, StepCallback
from harness.training.checkpoint import Checkpoint


def make_context(folder: Path, report: StepCallback = lambda *_: None) -> MakeContext:
    """Return a context on the CPU whose checkpoint is written beside the artefact's folder."""
    return MakeContext("cpu", report, Checkpoint(folder.with_name(f"{folder.name}.unfinished")))
