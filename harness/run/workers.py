"""Worker processes that carry out tasks. A worker that dies fails its own task and no other.

`concurrent.futures` fails all tasks when one worker is killed. Every worker computes with one thread: on small matrices
two such workers do far more than one with two threads, and a result does not depend on the number of cores.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Self

from harness.errors import HarnessError, one_line
from harness.methods.error_origin import plugin_behind
from harness.run.progress import Progress


@dataclass(frozen=True)
class Task:
    """Work for a worker.

    Attributes:
        label: for people.
        work: called in the worker; a module-level function, or a partial of one.
        method: name of the method that the work is for, used to attribute errors.
        needs: indices of the tasks that must be over, done or failed, before this one starts.
        seconds: a guess of how long it takes, for its share of the progress.
    """

    label: str
    work: Callable[[], None]
    method: str = ""
    needs: frozenset[int] = frozenset()
    seconds: float = 1.0


@dataclass(frozen=True)
class Failure:
    """Why a task failed.

    Attributes:
        cause: one line.
        details: the traceback; empty where the worker was killed.
    """

    cause: str
    details: str = ""


#: Called with the index of a task that is over, and its failure if it failed.
Finished = Callable[[int, Failure | None], None]


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    gpu: str | None
    task: int | None = None


def _do_nothing(index: int, failure: Failure | None) -> None:
    pass


class _Waiting:
    """Tasks that wait for their turn.

    Attributes:
        over: indices of the tasks that are over.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks, self._waiting = tasks, list(range(len(tasks)))
        self.over: set[int] = set()

    def __bool__(self) -> bool:
        """Whether any task waits."""
        return bool(self._waiting)

    @property
    def ready(self) -> int | None:
        """The first task that needs no unfinished one."""
        return next((index for index in self._waiting if self._tasks[index].needs <= self.over), None)

    def pop(self) -> int:
        """Take the first task that is ready.

        Raises:
            ValueError: none is.
        """
        if (index := self.ready) is None:
            raise ValueError("every waiting task needs another one that is not over")
        self._waiting.remove(index)
        return index


class Workers:
    """Up to `count` worker processes, each started when there is a task for it.

    Leaving the block by an exception kills them.

    Args:
        count: the number of workers.
        gpus: names of GPUs as in CUDA_VISIBLE_DEVICES: each worker takes the next and sees no other. Empty for none.
    """

    def __init__(self, count: int, gpus: Sequence[str] = ()) -> None:
        self._free_gpus = [gpus[number % len(gpus)] if gpus else None for number in range(count)]
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Without a pipe to read from, an idle worker ends by itself.
        for worker in self._workers:
            worker.pipe.close()
        self._stop(patience_s=10 if error is None else 0)

    def carry_out(
        self,
        tasks: Sequence[Task],
        progress: Progress,
        stop_on_error: bool = False,
        finished: Finished = _do_nothing,
    ) -> dict[int, Failure]:
        """Carry out tasks as workers become free: always the first task that needs no unfinished one.

        Args:
            tasks: the tasks.
            progress: told of each task.
            stop_on_error: after the first failure, start no more tasks and kill the running ones.
            finished: called after each task, before the next one starts.

        Returns:
            Failures by the task's index.
        """
        waiting = _Waiting(tasks)
        failures: dict[int, Failure] = {}
        while waiting or any(worker.task is not None for worker in self._workers):
            while waiting.ready is not None and (worker := self._idle()):
                worker.task = waiting.pop()
                progress.start(tasks[worker.task].label)
                try:
                    worker.pipe.send(tasks[worker.task])
                except OSError:  # the worker died; reading its pipe below says so
                    continue
            pipes = {worker.pipe: worker for worker in self._workers}
            for pipe in wait(list(pipes)):
                worker = pipes[pipe]  # type: ignore[index]
                index = worker.task
                over, failure = self._hear(worker, tasks, progress)
                if index is None or not over:
                    continue
                progress.finish(tasks[index].label, failed=failure is not None, failure=failure)
                waiting.over.add(index)
                finished(index, failure)
                if failure is not None:
                    failures[index] = failure
                    if stop_on_error:
                        self._stop(patience_s=0)
                        return failures
        return failures

    def _idle(self) -> _Worker | None:
        """An idle worker, started if there may be another; None if all are busy."""
        for worker in self._workers:
            if worker.task is None:
                return worker
        if not self._free_gpus:
            return None
        gpu = self._free_gpus.pop(0)
        spawning = multiprocessing.get_context("spawn")
        pipe, worker_pipe = spawning.Pipe()
        process = spawning.Process(target=_work, args=(worker_pipe, gpu))
        # Ctrl-C reaches the whole process group, but the parent handles it: workers inherit the signal blocked, and
        # are stopped by SIGTERM.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            process.start()
            self._workers.append(_Worker(process, pipe, gpu))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        worker_pipe.close()  # so that the pipe ends when the worker does
        return self._workers[-1]

    def _hear(self, worker: _Worker, tasks: Sequence[Task], progress: Progress) -> tuple[bool, Failure | None]:
        """Read one message of a worker: whether its task is over, and its failure if it failed."""
        try:
            kind, *values = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join()
            self._workers.remove(worker)
            self._free_gpus.append(worker.gpu)
            return True, Failure(_death(worker.process.exitcode))
        if kind == "step" and worker.task is not None:
            progress.step(tasks[worker.task].label, *values)
        elif kind == "say":
            progress.say(*values)
        elif kind == "over":
            worker.task = None
            return True, values[0]
        return False, None

    def _stop(self, patience_s: float) -> None:
        """Stop all workers. Busy ones are killed, as an exception could be lost in a finaliser."""
        _join([worker.process for worker in self._workers], patience_s)
        for worker in self._workers:
            worker.process.terminate()
        _join([worker.process for worker in self._workers], 5)
        for worker in self._workers:
            worker.process.kill()
            worker.process.join()
        self._free_gpus += [worker.gpu for worker in self._workers]
        self._workers = []


class InProcess:
    """Carries out tasks in this process, one after the other: for notebooks, debuggers and tests."""

    def carry_out(
        self,
        tasks: Sequence[Task],
        progress: Progress,
        stop_on_error: bool = False,
        finished: Finished = _do_nothing,
    ) -> dict[int, Failure]:
        """As of `Workers`."""
        compute_with_one_thread()
        waiting = _Waiting(tasks)
        failures: dict[int, Failure] = {}
        while waiting:
            index = waiting.pop()
            task = tasks[index]
            progress.start(task.label)
            failure = None
            try:
                task.work()
            except Exception as error:
                failure = failures[index] = Failure(cause_of(error, task.method), traceback.format_exc())
            progress.finish(task.label, failed=failure is not None, failure=failure)
            waiting.over.add(index)
            finished(index, failure)
            if failure and stop_on_error:
                break
        return failures


def _join(processes: Sequence[BaseProcess], patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))


def _death(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        memory = ", probably because memory ran out: try fewer --jobs" if name == "SIGKILL" else ""
        return f"its worker process was killed by {name}{memory}"
    return f"its worker process ended with exit code {exit_code}"


#: The pipe to the parent, set once in each worker process.
_pipe: Connection | None = None


def report_step(done: int, total: int) -> None:
    """Report the progress of the running task to the parent."""
    if _pipe is not None:
        _pipe.send(("step", done, total))


def say(line: str) -> None:
    """Show the user one line, from within a task."""
    if _pipe is not None:
        _pipe.send(("say", line))


def _work(pipe: Connection, gpu: str | None) -> None:
    """The main loop of a worker process."""
    global _pipe
    _pipe = pipe
    _end_with_parent()
    if gpu is not None:  # before anything computes on one
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    compute_with_one_thread()
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        failure = _failure_of(task)
        try:
            pipe.send(("over", failure))
        except OSError:  # the parent is gone
            return


def _failure_of(task: Task) -> Failure | None:
    try:
        task.work()
    except BaseException as error:  # even sys.exit() of a method fails its own task alone
        return Failure(cause_of(error, task.method), traceback.format_exc())
    return None


def cause_of(error: BaseException, method: str = "") -> str:
    """An exception in one line: a `HarnessError` in its own words, others by type and by the plug-in they arose in."""
    if isinstance(error, HarnessError):
        return str(error)
    plugin = plugin_behind(error, method)
    return one_line(f"{type(error).__name__}: {error}" + (f" (in {plugin[0].lower()}{plugin[1:]})" if plugin else ""))


def _end_with_parent() -> None:
    """End this process when its parent ends, however that happens."""
    if sys.platform == "linux":
        set_death_signal = 1  # PR_SET_PDEATHSIG: works even in code that holds the interpreter's lock
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
    parent: Any = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def compute_with_one_thread() -> None:
    """Limit every numerical library of this process to one thread."""
    import faiss
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    threadpool_limits(1)
