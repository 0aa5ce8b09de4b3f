"""Asking a method of a suite for something else than scores: a diagnosis, or an export of its model."""

from collections.abc import Sequence
from pathlib import Path

from harness.errors import HarnessError
from harness.methods.api import Diagnoses, DiagnosticTable, Exports, FitContext, Method
from harness.methods.artefact import StepCallback
from harness.protocol.scenario import Scenario, Suite
from harness.protocol.split import TrainingData
from harness.run.artefact import RunArtefacts
from harness.run.methods import check_data, check_files, check_tuned_on, method_for
from harness.run.splits import Domains, open_training
from harness.storage.files import folder_atomically
from harness.storage.store import Store


def export(
    suite: Suite,
    scenario: Scenario,
    name: str,
    seed: int,
    domains: Domains,
    store: Store,
    device: str,
    folder: Path,
    report: StepCallback,
) -> None:
    """Fits a method, or takes what was trained from the store, and writes its model into a new folder.

    Raises:
        HarnessError: the method has no model that others could load, or the folder is there already.
    """
    if folder.exists():
        raise HarnessError(f"{folder} is there already.", "Name a folder that does not exist.")
    method, data, context = _opened(suite, scenario, name, seed, domains, store, device, report)
    if not isinstance(method, Exports):
        raise HarnessError(f"{name} has no model that others could load.", "Try weaverec or target-only.")
    with folder_atomically(folder) as filled:
        method.export(data, context, filled)


def diagnose(
    suite: Suite,
    scenario: Scenario,
    name: str,
    seed: int,
    domains: Domains,
    store: Store,
    device: str,
    report: StepCallback,
) -> Sequence[DiagnosticTable]:
    """Fits a method, or takes what was trained from the store, and measures why it scores as it does.

    The test events are not opened.

    Raises:
        HarnessError: the method has nothing to show.
    """
    method, data, context = _opened(suite, scenario, name, seed, domains, store, device, report)
    if not isinstance(method, Diagnoses):
        raise HarnessError(f"{name} has nothing to diagnose.", "Try weaverec or naive-merge.")
    return method.diagnose(data, context, report)


def _opened(
    suite: Suite,
    scenario: Scenario,
    name: str,
    seed: int,
    domains: Domains,
    store: Store,
    device: str,
    report: StepCallback,
) -> tuple[Method, TrainingData, FitContext]:
    data = open_training(suite, scenario, domains)
    method, tuning = method_for(suite, scenario, name)
    check_tuned_on(suite, name, tuning, data)
    check_files(suite, name, method)
    reason = check_data(name, method, data)
    if reason:
        raise HarnessError(f"{name} cannot run on {scenario.name}: {reason}", "Ask for another.")
    return method, data, FitContext(suite.budget, seed, device, RunArtefacts(store, device, report))
