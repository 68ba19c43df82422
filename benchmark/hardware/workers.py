"""Many tasks in a few long-lived processes: a failed task or a dead process does not affect other tasks.

Each process is spawned, keeps its imports between tasks, and writes its output into a log. A process that dies (killed,
out of memory) is replaced, and its task counts as failed.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any, Generic, TypeVar

from benchmark.hardware.signals import end_with_parent

T = TypeVar("T")


@dataclass(frozen=True)
class Task(Generic[T]):
    """One piece of work. `after`: the name of a task that must have ended before this one starts."""

    name: str
    payload: T  # argument of the work function
    log: Path  # where its output goes
    after: str | None = None


@dataclass(frozen=True)
class TaskResult:
    """A finished task, with its error message; None for success."""

    name: str
    error: str | None


class _Process(Generic[T]):
    """One worker and its current task."""

    def __init__(self, work: Callable[[T], None], environment: Mapping[str, str]) -> None:
        self.environment = environment
        context = get_context("spawn")  # not forked: the parent may run threads of torch or HDF5
        self.pipe, child_pipe = context.Pipe()
        self.process = context.Process(target=_serve, args=(child_pipe, work), daemon=True)
        with _set_environment(environment):  # inherited, so that imports can read it
            self.process.start()
        child_pipe.close()
        self.task: Task[T] | None = None

    def assign(self, task: Task[T]) -> None:
        self.task = task
        self.pipe.send((task.payload, task.log))

    def wait_result(self) -> TaskResult:
        """Wait for the result of the current task."""
        name = self.task.name if self.task else ""
        try:
            error = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(5)
            error = (
                f"its process died (exit code {self.process.exitcode}: killed, or out of memory). Fewer --workers may "
                f"help; the same command continues it"
            )
        self.task = None
        return TaskResult(name, error)

    def stop(self) -> None:
        self.pipe.close()
        self.process.terminate()
        self.process.join(5)


def run_tasks(
    tasks: Sequence[Task[T]], work: Callable[[T], None], workers: int, environments: Sequence[Mapping[str, str]] = ({},)
) -> Iterator[TaskResult]:
    """Run tasks in order, at most `workers` at a time; yields each as it ends.

    work: a function at the top level of a module; its exceptions become errors. environments: variables set in the
    processes before anything is imported, in turn (one GPU each, for example). A task whose `after` failed is not
    started and ends with an error.
    """
    waiting, failed, succeeded = list(tasks), set[str](), set[str]()
    names = {task.name for task in tasks}
    pool: list[_Process[T]] = []
    try:
        while waiting or any(p.task for p in pool):
            for task in [t for t in waiting if t.after in failed]:
                waiting.remove(task)
                failed.add(task.name)
                yield TaskResult(task.name, f"{task.after} failed, which it needs")
            for task in [t for t in waiting if t.after is None or t.after not in names or t.after in succeeded]:
                idle = next((p for p in pool if p.task is None), None)
                if idle is None and len(pool) < workers:
                    free = [e for e in environments if all(p.environment is not e for p in pool)]
                    idle = _Process(work, free[0] if free else environments[len(pool) % len(environments)])
                    pool.append(idle)
                if idle is None:
                    break
                waiting.remove(task)
                idle.assign(task)
            busy = {p.pipe: p for p in pool if p.task is not None}
            for pipe in connection.wait(list(busy), timeout=60):
                process = busy[pipe]  # type: ignore[index]
                result = process.wait_result()
                (failed if result.error else succeeded).add(result.name)
                if not process.process.is_alive():
                    pool.remove(process)
                yield result
    finally:
        for process in pool:
            process.stop()


@contextmanager
def _set_environment(environment: Mapping[str, str]) -> Iterator[None]:
    previous = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in previous.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(pipe: Any, work: Callable[[Any], None]) -> None:
    end_with_parent()
    while True:
        try:
            payload, log = pipe.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        try:
            pipe.send(_run_logged(work, payload, log))
        except (OSError, KeyboardInterrupt):
            return


def _run_logged(work: Callable[[Any], None], payload: Any, log: Path) -> str | None:
    """The task's error, if any; its output, and the error's traceback, go into the log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8", buffering=1) as stream:
        before = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = stream
        try:
            work(payload)
        except Exception as error:
            traceback.print_exc()
            return " ".join(f"{error}".split()) or type(error).__name__
        finally:
            sys.stdout, sys.stderr = before
    return None
