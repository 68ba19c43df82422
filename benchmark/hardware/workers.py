"""Many tasks in a few long-lived processes: one task's failure, or its process's death, costs no other task.

Each process is spawned, keeps what it has imported from task to task, and writes what it prints into a log. A process
that dies (killed, out of memory) is replaced, and its task counts as failed.
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
    what: T
    log: Path  # where its output goes
    after: str | None = None


@dataclass(frozen=True)
class TaskResult:
    """A task that has ended: its error is what a user is told, None where all went well."""

    name: str
    error: str | None


class _Process(Generic[T]):
    """One worker and the task it is at."""

    def __init__(self, work: Callable[[T], None], environment: Mapping[str, str]) -> None:
        self.environment = environment
        context = get_context("spawn")  # not forked: the parent may run threads of torch or HDF5
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, work), daemon=True)
        with _set(environment):  # inherited: what the process imports may read it at once
            self.process.start()
        other.close()
        self.task: Task[T] | None = None

    def give(self, task: Task[T]) -> None:
        self.task = task
        self.pipe.send((task.what, task.log))

    def ended(self) -> TaskResult:
        """Waits for what the process says of its task."""
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
    """Carry out tasks in the given order, at most `workers` at a time; yields each as it ends.

    work: a function at the top level of a module; its exceptions become errors. environments: variables set in the
    processes before anything is imported, in turn (one GPU each, for example). A task whose `after` failed is not
    started and ends with an error.
    """
    waiting, failed, done = list(tasks), set[str](), set[str]()
    names = {task.name for task in tasks}
    pool: list[_Process[T]] = []
    try:
        while waiting or any(p.task for p in pool):
            for task in [t for t in waiting if t.after in failed]:
                waiting.remove(task)
                failed.add(task.name)
                yield TaskResult(task.name, f"{task.after} failed, which it needs")
            for task in [t for t in waiting if t.after is None or t.after not in names or t.after in done]:
                idle = next((p for p in pool if p.task is None), None)
                if idle is None and len(pool) < workers:
                    free = [e for e in environments if all(p.environment is not e for p in pool)]
                    idle = _Process(work, free[0] if free else environments[len(pool) % len(environments)])
                    pool.append(idle)
                if idle is None:
                    break
                waiting.remove(task)
                idle.give(task)
            busy = {p.pipe: p for p in pool if p.task is not None}
            for pipe in connection.wait(list(busy), timeout=60):
                process = busy[pipe]  # type: ignore[index]
                ended = process.ended()
                (failed if ended.error else done).add(ended.name)
                if not process.process.is_alive():
                    pool.remove(process)
                yield ended
    finally:
        for process in pool:
            process.stop()


@contextmanager
def _set(environment: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(pipe: Any, work: Callable[[Any], None]) -> None:
    end_with_parent()
    while True:
        try:
            what, log = pipe.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        try:
            pipe.send(_logged(work, what, log))
        except (OSError, KeyboardInterrupt):
            return


def _logged(work: Callable[[Any], None], what: Any, log: Path) -> str | None:
    """The task's error, if any; its output, and the error's traceback, go into the log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8", buffering=1) as stream:
        before = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = stream
        try:
            work(what)
        except Exception as error:
            traceback.print_exc()
            return " ".join(f"{error}".split()) or type(error).__name__
        finally:
            sys.stdout, sys.stderr = before
    return None
