"""Runs the pieces of a data set in this process, in local processes, or on a cluster through submitit."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from benchmark.errors import BenchmarkError, ConfigError
from benchmark.hardware import cluster
from benchmark.hardware.signals import end_with_parent

Executor = Literal["local", "submitit"]
_POLL_S = 0.5


class Piece(Protocol):
    """A part of a data set: the unit of work and of resuming. Sortable, hashable and small to pickle."""

    @property
    def n_events(self) -> int:
        """Events in it."""
        ...

    def path(self, work: Path) -> Path:
        """The file that exists once the piece is finished."""
        ...


P = TypeVar("P", bound=Piece)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_pieces(
    make: Callable[[P, Path], int],
    pieces: Sequence[P],
    work: Path,
    workers: int,
    executor: Executor,
    cluster: Mapping[str, Any],
    warm_up: Sequence[Callable[[], object]] = (),
) -> Iterator[int]:
    """Make the pieces, in any order; yields the number of events of each as it is finished.

    make: picklable; makes one piece in the folder `work`, whole or not at all, and returns its number of events.
    workers: local processes, or jobs of submitit. warm_up: run at once in the processes before the first piece
    (compilation). Raises BenchmarkError for a worker that died and ConfigError for an unknown executor.
    """
    if executor == "submitit":
        return _on_cluster(make, pieces, work, workers, cluster)
    if executor != "local":
        raise ConfigError(f"There is no executor {executor!r}. Expected local or submitit. Correct the executor.")
    if workers == 1 or len(pieces) <= 1:
        return (make(piece, work) for piece in pieces)
    return _in_processes(make, pieces, work, min(workers, len(pieces)), warm_up)


def _in_processes(
    make: Callable[[P, Path], int], pieces: Sequence[P], work: Path, workers: int,
    warm_up: Sequence[Callable[[], object]],
) -> Iterator[int]:  # fmt: skip
    # Spawned, not forked: the parent may already run threads of torch or HDF5.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread)
    try:
        # On a new machine all parts compile in parallel; later workers use numba's cache.
        for compiled in [pool.submit(step) for step in warm_up]:
            compiled.result()
        yield from (f.result() for f in as_completed([pool.submit(make, p, work) for p in pieces]))
    except BrokenProcessPool as error:
        raise BenchmarkError(
            f"A worker process of the simulation died (killed, or out of memory) with {workers} workers. All were "
            f"expected to finish. Repeat the command with fewer --workers: finished events are kept."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _one_thread() -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    end_with_parent()
    os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1")


def _make_batch(make: Callable[[P, Path], int], pieces: Sequence[P], work: Path) -> list[int]:
    return [make(piece, work) for piece in pieces]


def _on_cluster(
    make: Callable[[P, Path], int], pieces: Sequence[P], work: Path, jobs: int, parameters: Mapping[str, Any]
) -> Iterator[int]:
    """`jobs` jobs of about equal size. parameters: `cluster` ("slurm", "local", ...) and submitit's own, e.g.
    slurm_partition, timeout_min, mem_gb. The folder must be on a file system that all nodes see."""
    executor = cluster.executor(work / "jobs", parameters)
    batches = [pieces[i::jobs] for i in range(min(jobs, len(pieces)))]
    running = executor.map_array(partial(_make_batch, make), batches, [work] * len(batches))
    yield from _wait(list(running), list(pieces), work)


def _wait(
    running: list[Any], pieces: list[P], work: Path, sleep: Callable[[float], None] = time.sleep
) -> Iterator[int]:
    """Finished pieces appear as files, so progress is shown long before a job ends."""
    pending = list(pieces)
    while pending:
        finished = [p for p in pending if p.path(work).is_file()]
        pending = [p for p in pending if p not in finished]
        yield from (p.n_events for p in finished)
        if pending and all(job.done() for job in running):
            for job in running:
                _raise_failure(job)
            pending = [p for p in pending if not p.path(work).is_file()]
            if not pending:
                return
            raise BenchmarkError(
                f"{len(pending)} pieces of the simulation are missing though all jobs ended. A shared file system was "
                f"expected. Look into {work / 'jobs'}, then repeat the command: finished pieces are kept."
            )
        if pending:
            sleep(_POLL_S)


def _raise_failure(job: Any) -> None:
    error = job.exception()
    if error is not None:
        last = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise BenchmarkError(
            f"Simulation job {job.job_id} failed: {last}. A finished job was expected. Look into {job.paths.stderr}, "
            f"then repeat the command: finished events are kept."
        ) from error
