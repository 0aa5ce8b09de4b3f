"""Carries out a plan in local worker processes. A failure costs the runs that need it, and no others."""

import gc
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import psutil

from harness.errors import HarnessError
from harness.methods.api import EstimatesScoring, TrainsArtefacts
from harness.methods.artefact import Artefact
from harness.run.artefact import artefact_key, train, train_along
from harness.run.estimate import scoring_estimates
from harness.run.methods import method_for
from harness.run.plan import Plan, Run, Training, run_key
from harness.run.progress import Progress
from harness.run.scenario_data import open_training
from harness.run.score import score
from harness.run.tune import TuningTask, tune_method
from harness.run.workers import (
    Failure,
    Finished,
    InProcess,
    Task,
    Workers,
    cause_of,
    compute_with_one_thread,
    report_step,
    say,
)
from harness.run.workspace import Workspace, remove_unfinished
from harness.training.distributed import ProcessGroup
from harness.tuning.record import write_tuning


@dataclass(frozen=True)
class FailedRun:
    """A run that failed, and why."""

    run: Run
    failure: Failure


#: Memory of a worker that trains an adapter of the packaged backbone on the largest shipped suite, with some room.
_WORKER_GB = 4.5


#: Operations up to a training's cap for each second that it takes, as it stops long before; seconds of a small model.
_FLOPS, _SMALL_MODEL_S = 6.5e11, 30.0

#: Operations a second of models whose scoring is estimated; their trainings are short, and reach their caps.
_FLOPS_OF_PROMPTS = 1e11


def default_jobs(device: str) -> int:
    """One worker a core, but no more than fit into free memory; on GPUs, one for each."""
    if device != "cpu":
        return max(1, len(_gpus()))
    fitting = int(psutil.virtual_memory().available / 1e9 / _WORKER_GB)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, fitting))


def execute(
    plan: Plan,
    workspace: Workspace,
    jobs: int,
    progress: Progress,
    stop_on_error: bool = False,
    keep_lists: bool = True,
    finished: Callable[[], None] = lambda: None,
) -> list[FailedRun]:
    """Train what the plan lacks, and make each missing run as soon as it can be. What is finished is kept.

    Args:
        plan: what to do.
        workspace: the suite, its data, the store and the device.
        jobs: worker processes; 0: work in this process.
        progress: told of phases and tasks.
        stop_on_error: stop all runs at the first failure instead of going on with the others.
        keep_lists: keep each user's top-k list beside the ranks; as the plan was made for.
        finished: called after each run.

    Returns:
        The runs that failed.

    Raises:
        HarnessError: a task failed, and `stop_on_error` is set.
        KeyboardInterrupt: the user stopped the command; the workers are stopped too.
    """
    if not plan.missing:
        return []
    # Several processes may have trained some of them together before.
    trainings = [t for t in _longest_first(plan) if not workspace.store.has(t.kind, t.key)]
    # Runs stand before trainings: one whose trainings are over goes first.
    training_of = {training.key: len(plan.missing) + number for number, training in enumerate(trainings)}
    failed: dict[str, str] = {}
    told = workspace.telling(say)
    scorings = {each.label: each.flops / _FLOPS_OF_PROMPTS for each in scoring_estimates(plan, workspace)}
    tasks = [
        Task(
            label := f"scoring {run.label}",
            partial(_score, run, told, failed, keep_lists),
            run.method,
            frozenset(training_of[key] for key in plan.needs[run.id] if key in training_of),
            scorings.get(label, 1.0),
        )
        for run in plan.missing
    ]
    tasks += [
        Task(f"training {t.label}", partial(_train, t, told), t.run.method, seconds=_seconds(plan, t))
        for t in trainings
    ]

    def over(index: int, failure: Failure | None) -> None:
        if index < len(plan.missing):
            finished()
        elif failure is not None:
            failed[trainings[index - len(plan.missing)].key] = failure.cause  # for the runs that need it

    with _workers(min(jobs, len(tasks)), workspace) as workers:
        failures = _carry_out("Done", tasks, workers, progress, stop_on_error, over)
    return [
        FailedRun(plan.missing[index], failure)
        for index, failure in sorted(failures.items())
        if index < len(plan.missing)
    ]


def _longest_first(plan: Plan) -> list[Training]:
    """Trainings in the order to make them.

    Those without an estimate, which are of small models, come first: their rows soon stand on the board. Of the others
    the longest comes first, so that no worker is left alone with it at the end.
    """
    costs = {key: estimate().flops for key, estimate in plan.estimates.items()}
    return sorted(plan.trainings, key=lambda training: -costs.get(training.key, math.inf))


def _seconds(plan: Plan, training: Training) -> float:
    """A guess of a training's seconds on one core, for progress: most trainings stop long before their cap."""
    estimate = plan.estimates.get(training.key)
    if estimate is None:
        return _SMALL_MODEL_S
    run = training.run
    of_prompts = isinstance(plan.methods[run.scenario, run.method], EstimatesScoring)
    return estimate().flops / (_FLOPS_OF_PROMPTS if of_prompts else _FLOPS)


def train_together(plan: Plan, workspace: Workspace, processes: ProcessGroup, progress: Progress) -> None:
    """Train what several processes can train together, one after the other; every process calls this.

    Raises:
        HarnessError: the processes have different stores, or a training failed: the processes cannot go on without
            each other.
    """
    compute_with_one_thread()
    trainings = [training for training in plan.trainings if training.shared]
    keys = [training.key for training in trainings]
    if processes.from_main(lambda: keys) != keys:
        raise HarnessError(
            "The processes that were started together do not find the same trained artefacts.",
            "Give all of them one --cache-dir, which no other command writes to.",
        )
    progress.phase("Training together", {training.label: _seconds(plan, training) for training in trainings})
    for training in trainings:
        progress.start(training.label)
        try:
            _train_shared(training, workspace, processes, progress)
        except Exception as error:
            raise _stopped(f"Training {training.label}", Failure(cause_of(error))) from error
        progress.finish(training.label)


def _train_shared(training: Training, workspace: Workspace, processes: ProcessGroup, progress: Progress) -> None:
    import torch

    artefact = _artefact(training, workspace)
    if processes.main:
        report = partial(progress.step, training.label)
        train(artefact, workspace.store, workspace.device, report, processes)
    else:
        train_along(artefact, workspace.store, workspace.device, processes)
    # Free the memory for the next training's model, or a worker's.
    gc.collect()
    torch.cuda.empty_cache()


def tune(
    tasks: Sequence[TuningTask], workspace: Workspace, jobs: int, progress: Progress, stop_on_error: bool = False
) -> dict[str, Failure]:
    """Carry out tunings, each in one worker, and write each one's settings as soon as it is done.

    Returns:
        Failures by the task's label.

    Raises:
        HarnessError: a task failed, and `stop_on_error` is set.
        KeyboardInterrupt: the user stopped the command; finished trainings are kept in the store.
    """
    if not tasks:
        return {}
    work = [Task(task.label, partial(_tune, task, workspace.telling(say)), task.method) for task in tasks]
    with _workers(min(jobs, len(work)), workspace) as workers:
        failures = _carry_out("Tuning", work, workers, progress, stop_on_error)
    return {tasks[index].label: failure for index, failure in failures.items()}


def _gpus() -> list[str]:
    """GPUs that this process may use, by their names in CUDA_VISIBLE_DEVICES."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else map(str, range(torch.cuda.device_count()))
    return [name.strip() for name in names if name.strip()]


@contextmanager
def _workers(count: int, workspace: Workspace) -> Iterator[Workers | InProcess]:
    if not count:
        yield InProcess()
        return
    try:
        with Workers(count, _gpus() if workspace.device == "cuda" else ()) as workers:
            yield workers
    except BaseException:
        # Workers that were killed could not clean up.
        remove_unfinished(workspace.store.root, workspace.suite.tuned)
        raise


def _carry_out(
    title: str,
    tasks: Sequence[Task],
    workers: Workers | InProcess,
    progress: Progress,
    stop_on_error: bool,
    finished: Finished = lambda index, failure: None,  # noqa: ARG005
) -> dict[int, Failure]:
    progress.phase(title, {task.label: task.seconds for task in tasks})
    failures = workers.carry_out(tasks, progress, stop_on_error, finished)
    if stop_on_error:
        for index, failure in failures.items():
            label = tasks[index].label
            raise _stopped(label[0].upper() + label[1:], failure)
    return failures


def _stopped(label: str, failure: Failure) -> HarnessError:
    error = HarnessError(f"{label} failed: {failure.cause.rstrip('.')}.", "What is finished is kept.")
    error.add_note(failure.details)
    return error


def _train(training: Training, workspace: Workspace) -> None:
    train(_artefact(training, workspace), workspace.store, workspace.device, report_step, energy=workspace.energy)


def _artefact(training: Training, workspace: Workspace) -> Artefact:
    run = training.run
    data = open_training(workspace, run.scenario)
    method, _ = method_for(workspace.suite, run.scenario, run.method)
    if not isinstance(method, TrainsArtefacts):
        raise TypeError(f"method {run.method} no longer names its artefacts")
    artefacts = {artefact_key(a): a for a in method.artefacts(data, workspace.suite.budget, run.seed)}
    if training.key not in artefacts:
        raise _code_changed()
    return artefacts[training.key]


def _score(run: Run, workspace: Workspace, failed: Mapping[str, str], keep_lists: bool) -> None:
    with workspace.store.locked("run", run.key, f"scoring {run.label}"):
        if workspace.store.has("run", run.key):
            return
        # A worker imports the code as it is now: its result must not be stored under the key of other code.
        method, tuning = method_for(workspace.suite, run.scenario, run.method)
        if run_key(workspace, run.scenario, run.method, method, tuning, run.seed, keep_lists) != run.key:
            raise _code_changed()
        score(workspace, run, report_step, failed, keep_lists)


def _code_changed() -> HarnessError:
    return HarnessError("The code has changed since the run was planned.", "Run the command again.")


def _tune(task: TuningTask, workspace: Workspace) -> None:
    write_tuning(tune_method(workspace, task.scenario, task.method, report_step), task.path)
