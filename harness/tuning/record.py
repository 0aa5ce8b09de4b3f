"""Tuning results, each a file beside its suite: every trial, the settings chosen, and the command."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import HarnessError
from harness.methods.api import learns_from
from harness.protocol.scenario import Scenario
from harness.protocol.suite import Suite
from harness.storage.files import write_atomically
from harness.storage.yaml_file import read_yaml
from harness.tuning.tunable import Tunable


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class TrialRecord(_Record):
    """One trial."""

    settings: dict[str, Any]
    """The settings that were tried, by dotted name."""
    validation: float | None
    """NDCG@10 on the target's validation events; null if the training diverged."""
    curves: dict[str, tuple[float, ...]]
    """Trained artefact -> validation NDCG@10 after each evaluation."""
    steps: dict[str, int]
    """Trained artefact -> optimiser steps made."""
    seconds: float
    """Wall-clock seconds; close to zero where the trainings were in the store."""


class Tuning(_Record):
    """A study: settings chosen by validation, with the same number of trials for every method."""

    command: str
    """The command that tuned."""
    method: str
    """Name of the method."""
    data: dict[str, str]
    """Domain -> digest of its training data, of each domain that the method learns from; the target first."""
    budget: dict[str, int]
    """The training budget: `trials`, `epochs` and `patience`."""
    seed: int
    """Seed of the draws of settings, and of every training in the study."""
    space: dict[str, Any]
    """The search space: setting -> its values or range."""
    chosen: dict[str, Any]
    """The settings of the best trial, by dotted name."""
    trials: tuple[TrialRecord, ...]
    """All trials, in order; the first has the defaults."""
    code: str
    """SHA-256 (hex) of the code that decides a trial's outcome."""


def tuning_path(suite: Suite, scenario: Scenario, name: str, method: Tunable) -> Path:
    """The file of a method's tuning in a scenario; scenarios that differ in nothing the method learns from share it."""
    domains = learns_from(method, scenario.target, scenario.sources)
    if scenario.overlap != "kept":
        domains = scenario.domains  # who is in the target depends on the sources
    stem = "+".join(domains) + scenario.name.removeprefix(f"{scenario.target}-from-{'+'.join(scenario.sources)}")
    return suite.tuned / name / f"{stem}.yaml"


def read_tuning(path: Path) -> Tuning | None:
    """Read a tuning; None if there is none.

    Raises:
        HarnessError: the file is not valid.
    """
    try:
        return Tuning.model_validate(read_yaml(path))
    except FileNotFoundError:
        return None
    except (HarnessError, ValidationError) as error:
        what = error.what if isinstance(error, HarnessError) else f"{path}: {error.errors()[0]['msg']}."
        raise HarnessError(what, "Restore the file, or delete it and run: harness tune.") from error


def write_tuning(tuning: Tuning, path: Path) -> None:
    """Write a tuning, settings before trials, with the command on top."""
    head = f"# Found by: {tuning.command}\n"
    body = yaml.safe_dump(tuning.model_dump(mode="json"), sort_keys=False, width=120, default_flow_style=None)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, head + body)
