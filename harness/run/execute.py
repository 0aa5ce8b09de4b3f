"""Carrying out a plan in local worker processes.

Every worker computes with one thread: on small matrices two such workers do far more than one with two threads,
and a result does not depend on the number of cores.
"""

import gc
import multiprocessing
import os
import queue
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil

from harness.errors import HarnessError
from harness.files import remove_unfinished
from harness.method import Artefact, ChecksFiles, TrainsArtefacts
from harness.protocol.scenario import Suite
from harness.run.artefacts import artefact_key, train, train_along
from harness.run.methods import method_for
from harness.run.opening import Domains, open_training
from harness.run.plan import Plan, Run, Training
from harness.run.progress import Bars
from harness.run.score import score
from harness.run.store import Store
from harness.run.study import Study, study
from harness.together import Together
from harness.tuning.record import write_tuning


@dataclass(frozen=True)
class Workplace:
    """Where and with what to work; the same for every task of a command."""

    suite: Suite
    domains: Domains
    store: Path
    device: str
    debug: bool = False


#: What a worker that trains an adapter of the packaged backbone takes at most on the shipped suites, with some room.
_WORKER_GB = 4.5


def default_jobs(device: str) -> int:
    """One worker a core, but no more than fit into the memory that is free; on GPUs, one for each."""
    if device != "cpu":
        return max(1, len(_gpus()))
    fitting = int(psutil.virtual_memory().available / 1e9 / _WORKER_GB)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, fitting))


def execute(plan: Plan, place: Workplace, jobs: int, bars: Bars) -> None:
    """Trains what the plan lacks, then makes the missing runs. What is finished is kept, whatever comes after.

    Raises:
        HarnessError: a task failed; with `place.debug`, the task's own exception.
        KeyboardInterrupt: the user stopped it; the workers are stopped too.
    """
    if not plan.missing:
        return
    store = Store(place.store)
    # Less what several processes trained together, if they did.
    left = [training for training in plan.trainings if not store.has(training.kind, training.key)]
    with _workers(min(jobs, max(len(left), len(plan.missing))), place) as (pool, events):
        _phase("Training", _train, left, [t.label for t in left], place, pool, events, bars)
        labels = [f"{run.method} on {run.scenario.name}, seed {run.seed}" for run in plan.missing]
        _phase("Scoring", _score, plan.missing, labels, place, pool, events, bars)


def check_files(plan: Plan, suite: Suite) -> None:
    """Fails before a plan is carried out rather than hours later, when the first method asks for what is not there.

    Raises:
        HarnessError: something that a method of the missing runs needs is not on this machine.
    """
    for scenario, name in dict.fromkeys((run.scenario, run.method) for run in plan.missing):
        method, _ = method_for(suite, scenario, name)
        if isinstance(method, ChecksFiles):
            method.check_files()


def train_together(plan: Plan, place: Workplace, together: Together, bars: Bars) -> None:
    """Trains what several processes can train together, one after the other; every process calls it.

    Raises:
        HarnessError: the processes have different stores, or a training failed; with `place.debug`, the training's own
            exception.
    """
    compute_with_one_thread()
    shared = [training for training in plan.trainings if training.shared]
    keys = [training.key for training in shared]
    if together.from_main(lambda: keys) != keys:
        raise HarnessError(
            "The processes that were started together do not find the same things trained.",
            "Give all of them one --cache-dir, which no other command writes to.",
        )
    bars.phase("Training together", len(shared))
    for training in shared:
        work = partial(_train_shared, training, place, together, bars)
        _guarded(work, f"Training {training.label}", place.debug)
        bars.finish(training.label)


def _train_shared(training: Training, place: Workplace, together: Together, bars: Bars) -> None:
    import torch

    store, artefact = Store(place.store), _artefact(training, place)
    if together.main:
        train(artefact, store, place.device, lambda done, total: bars.step(training.label, done, total), together)
    else:
        train_along(artefact, store, place.device, together)
    # The next training's model, or a worker's, needs the memory.
    gc.collect()
    torch.cuda.empty_cache()


def tune(studies: Sequence[Study], place: Workplace, jobs: int, bars: Bars) -> None:
    """Carries out studies, each in one worker, and writes what each found as soon as it is done.

    Raises:
        HarnessError: a study failed; with `place.debug`, the study's own exception.
        KeyboardInterrupt: the user stopped it; trainings that were finished are kept in the store.
    """
    if not studies:
        return
    with _workers(min(jobs, len(studies)), place) as (pool, events):
        _phase("Tuning", _tune, studies, [study.label for study in studies], place, pool, events, bars)


def _gpus() -> list[str]:
    """The GPUs that this process may use, by the names they have in CUDA_VISIBLE_DEVICES."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else map(str, range(torch.cuda.device_count()))
    return [name.strip() for name in names if name.strip()]


@contextmanager
def _workers(count: int, place: Workplace) -> Iterator[tuple[ProcessPoolExecutor, Any]]:
    spawning = multiprocessing.get_context("spawn")
    events, gpus = spawning.Queue(), spawning.Queue()
    # A worker takes the next GPU and sees no other: trainings need nothing of each other, so all are busy.
    known = _gpus() if place.device == "cuda" else []
    for worker in range(count if known else 0):
        gpus.put(known[worker % len(known)])
    pool = ProcessPoolExecutor(
        max_workers=count,
        mp_context=spawning,
        initializer=_start_worker,
        initargs=(events, gpus if known else None),
    )
    try:
        yield pool, events
    except BaseException as error:
        # Workers must not go on. They die where they stand, and what they leave is removed for them: an exception
        # raised in them by a signal is lost where Python happens to be in a finaliser.
        workers = multiprocessing.active_children()
        pool.shutdown(wait=False, cancel_futures=True)
        _stop(workers)
        stopped = [worker.pid for worker in workers if worker.pid is not None]
        for folder in (place.store, place.suite.tuned):
            remove_unfinished(folder, stopped)
        if isinstance(error, BrokenProcessPool):
            raise HarnessError(
                "A worker process was killed, most likely for want of memory.",
                "Run the command again with fewer --jobs: what is finished is kept.",
            ) from error
        raise
    pool.shutdown()


def _stop(workers: Sequence[BaseProcess], patience_s: float = 10) -> None:
    for worker in workers:
        worker.terminate()
    deadline = time.monotonic() + patience_s
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
        if worker.is_alive():
            worker.kill()
            worker.join()


def _phase(
    title: str,
    work: Callable[[Any, str, Workplace], None],
    tasks: Sequence[Any],
    labels: Sequence[str],
    place: Workplace,
    pool: ProcessPoolExecutor,
    events: Any,
    bars: Bars,
) -> None:
    bars.phase(title, len(tasks))
    # The first submission starts the workers. Ctrl-C reaches the whole process group, but it is for the parent to
    # decide: workers inherit the signal blocked, and are stopped by SIGTERM.
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    waiting: dict[Future[None], str] = {
        pool.submit(work, task, label, place): label for task, label in zip(tasks, labels, strict=True)
    }
    signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    while waiting:
        finished, _ = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
        while True:
            try:
                bars.step(*events.get_nowait())
            except queue.Empty:
                break
        for future in finished:
            bars.finish(waiting.pop(future))
            future.result()


#: Set once in each worker process: the way back to the progress bars. A queue can only be handed over at the start.
_events: Any = None


def _start_worker(events: Any, gpus: Any) -> None:
    global _events
    _events = events
    if gpus is not None:  # before anything computes on one
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus.get()
    compute_with_one_thread()


def compute_with_one_thread() -> None:
    """Sets every library of this process that computes to one thread."""
    import faiss
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    threadpool_limits(1)


def _train(training: Training, label: str, place: Workplace) -> None:
    def work() -> None:
        train(_artefact(training, place), Store(place.store), place.device, _reporter(label))

    _guarded(work, f"Training {label}", place.debug)


def _artefact(training: Training, place: Workplace) -> Artefact:
    run = training.run
    data = open_training(place.suite, run.scenario, place.domains)
    method, _ = method_for(place.suite, run.scenario, run.method)
    if not isinstance(method, TrainsArtefacts):
        raise TypeError(f"method {run.method} no longer names its artefacts")
    named = {artefact_key(a): a for a in method.artefacts(data, place.suite.budget, run.seed)}
    return named[training.key]


def _score(run: Run, label: str, place: Workplace) -> None:
    def work() -> None:
        score(
            place.suite,
            run,
            place.domains,
            Store(place.store),
            place.device,
            _reporter(label),
        )

    _guarded(work, label, place.debug)


def _tune(task: Study, label: str, place: Workplace) -> None:
    def work() -> None:
        found = study(
            place.suite, task.scenario, task.method, place.domains, Store(place.store), place.device, _reporter(label)
        )
        write_tuning(found, task.path)

    _guarded(work, f"Tuning {label}", place.debug)


def _reporter(label: str) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        if _events is not None:
            _events.put((label, done, total))

    return report


def _guarded(work: Callable[[], None], label: str, debug: bool) -> None:
    try:
        work()
    except HarnessError:
        raise
    except Exception as error:
        if debug:
            raise
        raise HarnessError(
            f"{label} failed: {type(error).__name__}: {error}.",
            "Run again with --debug to see where; what is finished is kept.",
        ) from error
