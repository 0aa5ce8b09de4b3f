"""Carrying out a plan in local worker processes. What fails costs the runs that need it, and no others."""

import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from harness.errors import HarnessError
from harness.methods.api import TrainsArtefacts
from harness.methods.artefact import Artefact
from harness.protocol.scenario import Suite
from harness.run.artefact import artefact_key, train, train_along
from harness.run.methods import check_files as check_files_of
from harness.run.methods import method_for
from harness.run.plan import Plan, Run, Training
from harness.run.progress import Progress
from harness.run.score import score
from harness.run.splits import Domains, open_training
from harness.run.tune import Study, study
from harness.run.workers import Failure, Task, Workers, cause_of, compute_with_one_thread, report_step, say
from harness.storage.files import remove_leftovers
from harness.storage.locks import remove_stale_locks
from harness.storage.store import LOCKS, Store
from harness.training.distributed import ProcessGroup
from harness.tuning.record import write_tuning


@dataclass(frozen=True)
class Workplace:
    """Where and with what to work; the same for every task of a command."""

    suite: Suite
    domains: Domains
    store: Path
    device: str
    stop_on_error: bool = False


@dataclass(frozen=True)
class FailedRun:
    """A run that came to nothing, and why."""

    run: Run
    failure: Failure


#: What a worker that trains an adapter of the packaged backbone takes at most on the shipped suites, with some room.
_WORKER_GB = 4.5


def default_jobs(device: str) -> int:
    """One worker a core, but no more than fit into the memory that is free; on GPUs, one for each."""
    if device != "cpu":
        return max(1, len(_gpus()))
    fitting = int(psutil.virtual_memory().available / 1e9 / _WORKER_GB)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, fitting))


def execute(plan: Plan, place: Workplace, jobs: int, progress: Progress) -> list[FailedRun]:
    """Trains what the plan lacks, then makes the missing runs. What is finished is kept, whatever comes after.

    A training or a run that fails, by an exception or because its worker is killed, stops the others only where the
    workplace says so.

    Returns:
        The runs that failed.

    Raises:
        HarnessError: a task failed, and the workplace says to stop then.
        KeyboardInterrupt: the user stopped it; the workers are stopped too.
    """
    if not plan.missing:
        return []
    store = Store(place.store)
    # Less what several processes trained together, if they did.
    left = [training for training in plan.trainings if not store.has(training.kind, training.key)]
    with _workers(min(jobs, max(len(left), len(plan.missing))), place) as workers:
        failures = _phase(
            "Training", [Task(t.label, partial(_train, t, place), t.run.method) for t in left], place, workers, progress
        )
        failed = {left[index].key: failure.cause for index, failure in failures.items()}
        tasks = [Task(_label(run), partial(_score, run, place, failed), run.method) for run in plan.missing]
        failures = _phase("Scoring", tasks, place, workers, progress)
    return [FailedRun(plan.missing[index], failure) for index, failure in sorted(failures.items())]


def _label(run: Run) -> str:
    return f"{run.method} on {run.scenario.name}, seed {run.seed}"


def remove_what_was_left(*folders: Path) -> None:
    """Removes what commands that were killed left in stores and beside results; nothing of those at work.

    Args:
        folders: where to look, with all below them.
    """
    for folder in folders:
        remove_leftovers(folder)
        for locks in folder.rglob(LOCKS):
            remove_stale_locks(locks)


def check_files(plan: Plan, suite: Suite) -> None:
    """Fails before a plan is carried out rather than hours later, when the first method asks for what is not there.

    Raises:
        HarnessError: a file that a method of the missing runs needs is not there, or not whole.
    """
    for scenario, name in dict.fromkeys((run.scenario, run.method) for run in plan.missing):
        method, _ = method_for(suite, scenario, name)
        check_files_of(suite, name, method)


def train_together(plan: Plan, place: Workplace, processes: ProcessGroup, progress: Progress) -> None:
    """Trains what several processes can train together, one after the other; every process calls it.

    Raises:
        HarnessError: the processes have different stores, or a training failed: the processes cannot go on without
            each other.
    """
    compute_with_one_thread()
    shared = [training for training in plan.trainings if training.shared]
    keys = [training.key for training in shared]
    if processes.from_main(lambda: keys) != keys:
        raise HarnessError(
            "The processes that were started together do not find the same things trained.",
            "Give all of them one --cache-dir, which no other command writes to.",
        )
    progress.phase("Training together", len(shared))
    for training in shared:
        progress.start(training.label)
        try:
            _train_shared(training, place, processes, progress)
        except Exception as error:
            raise _stopped(f"Training {training.label}", Failure(cause_of(error))) from error
        progress.finish(training.label)


def _train_shared(training: Training, place: Workplace, processes: ProcessGroup, progress: Progress) -> None:
    import torch

    store, artefact = Store(place.store), _artefact(training, place)
    if processes.main:
        train(artefact, store, place.device, partial(progress.step, training.label), processes)
    else:
        train_along(artefact, store, place.device, processes)
    # The next training's model, or a worker's, needs the memory.
    gc.collect()
    torch.cuda.empty_cache()


def tune(studies: Sequence[Study], place: Workplace, jobs: int, progress: Progress) -> dict[str, Failure]:
    """Carries out studies, each in one worker, and writes what each found as soon as it is done.

    Returns:
        What failed, by the study's label.

    Raises:
        HarnessError: a study failed, and the workplace says to stop then.
        KeyboardInterrupt: the user stopped it; trainings that were finished are kept in the store.
    """
    if not studies:
        return {}
    tasks = [Task(study.label, partial(_tune, study, place), study.method) for study in studies]
    with _workers(min(jobs, len(studies)), place) as workers:
        failures = _phase("Tuning", tasks, place, workers, progress)
    return {studies[index].label: failure for index, failure in failures.items()}


def _gpus() -> list[str]:
    """The GPUs that this process may use, by the names they have in CUDA_VISIBLE_DEVICES."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else map(str, range(torch.cuda.device_count()))
    return [name.strip() for name in names if name.strip()]


@contextmanager
def _workers(count: int, place: Workplace) -> Iterator[Workers]:
    try:
        with Workers(count, _gpus() if place.device == "cuda" else ()) as workers:
            yield workers
    except BaseException:
        # Workers that were stopped could not tidy up.
        remove_what_was_left(place.store, place.suite.tuned)
        raise


def _phase(
    title: str, tasks: Sequence[Task], place: Workplace, workers: Workers, progress: Progress
) -> dict[int, Failure]:
    progress.phase(title, len(tasks))
    failures = workers.carry_out(tasks, progress, place.stop_on_error)
    if place.stop_on_error:
        for index, failure in failures.items():
            raise _stopped(tasks[index].label, failure)
    return failures


def _stopped(label: str, failure: Failure) -> HarnessError:
    error = HarnessError(f"{label} failed: {failure.cause.rstrip('.')}.", "What is finished is kept.")
    error.add_note(failure.details)
    return error


def _train(training: Training, place: Workplace) -> None:
    train(_artefact(training, place), _store(place), place.device, report_step)


def _artefact(training: Training, place: Workplace) -> Artefact:
    run = training.run
    data = open_training(place.suite, run.scenario, place.domains)
    method, _ = method_for(place.suite, run.scenario, run.method)
    if not isinstance(method, TrainsArtefacts):
        raise TypeError(f"method {run.method} no longer names its artefacts")
    named = {artefact_key(a): a for a in method.artefacts(data, place.suite.budget, run.seed)}
    return named[training.key]


def _score(run: Run, place: Workplace, failed: Mapping[str, str]) -> None:
    store = _store(place)
    with store.locked("run", run.key, f"scoring {_label(run)}"):
        if not store.has("run", run.key):
            score(place.suite, run, place.domains, store, place.device, report_step, failed)


def _tune(task: Study, place: Workplace) -> None:
    found = study(place.suite, task.scenario, task.method, place.domains, _store(place), place.device, report_step)
    write_tuning(found, task.path)


def _store(place: Workplace) -> Store:
    return Store(place.store, say)
