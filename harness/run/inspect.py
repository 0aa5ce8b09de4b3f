"""Exports or diagnoses a fitted method."""

from collections.abc import Sequence
from pathlib import Path

from harness.errors import HarnessError
from harness.methods.api import Diagnoses, DiagnosticTable, Exports, FitContext, Method
from harness.methods.artefact import StepCallback
from harness.protocol.scenario import Scenario
from harness.protocol.split import TrainingData
from harness.run.artefact import RunArtefacts
from harness.run.methods import check_data, check_files, check_tuned_on, method_for
from harness.run.scenario_data import open_training
from harness.run.workspace import Workspace
from harness.storage.files import folder_atomically


def export(workspace: Workspace, scenario: Scenario, name: str, seed: int, folder: Path, report: StepCallback) -> None:
    """Fit a method, or take its trained artefacts from the store, and write its model into a new folder.

    Raises:
        HarnessError: the method has no model that others could load, or the folder exists.
    """
    if folder.exists():
        raise HarnessError(f"{folder} exists.", "Name a folder that does not exist.")
    method, data, context = _open(workspace, scenario, name, seed, report)
    if not isinstance(method, Exports):
        raise HarnessError(f"{name} has no model that others could load.", "Try weaverec or target-only.")
    with folder_atomically(folder) as temporary:
        method.export(data, context, temporary)


def diagnose(
    workspace: Workspace, scenario: Scenario, name: str, seed: int, report: StepCallback
) -> Sequence[DiagnosticTable]:
    """Fit a method, or take its trained artefacts from the store, and measure why it scores as it does.

    The test events are not opened.

    Raises:
        HarnessError: the method offers no diagnosis.
    """
    method, data, context = _open(workspace, scenario, name, seed, report)
    if not isinstance(method, Diagnoses):
        raise HarnessError(f"{name} offers no diagnosis.", "Try weaverec or naive-merge.")
    return method.diagnose(data, context, report)


def _open(
    workspace: Workspace, scenario: Scenario, name: str, seed: int, report: StepCallback
) -> tuple[Method, TrainingData, FitContext]:
    suite, data = workspace.suite, open_training(workspace, scenario)
    method, tuning = method_for(suite, scenario, name)
    check_tuned_on(suite, name, tuning, data)
    check_files(suite, name, method)
    reason = check_data(name, method, data)
    if reason:
        raise HarnessError(f"{name} cannot run on {scenario.name}: {reason}", "Choose another method or scenario.")
    artefacts = RunArtefacts(workspace.store, workspace.device, report)
    return method, data, FitContext(suite.budget, seed, workspace.device, artefacts)
