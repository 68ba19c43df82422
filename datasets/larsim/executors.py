"""Where shards are made: this process, local processes, or a cluster through submitit."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

from benchmark.errors import BenchmarkError, ConfigError

from .plan import Plan
from .shards import Shard, compile_images, compile_transport, make_shard

Executor = Literal["local", "submitit"]
_POLL_S = 0.5


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_shards(
    plan: Plan,
    shards: Sequence[Shard],
    work: Path,
    workers: int,
    executor: Executor,
    cluster: Mapping[str, Any],
) -> Iterator[int]:
    """Make the shards, in any order; yields the number of events of each as it is finished."""
    if executor == "submitit":
        return _on_cluster(plan, shards, work, workers, cluster)
    if executor != "local":
        raise ConfigError(f"There is no executor {executor!r}. Expected local or submitit. Correct the executor.")
    if workers == 1 or len(shards) <= 1:
        return (make_shard(plan, shard, work) for shard in shards)
    return _in_processes(plan, shards, work, min(workers, len(shards)))


def _in_processes(plan: Plan, shards: Sequence[Shard], work: Path, workers: int) -> Iterator[int]:
    # Spawned, not forked: the parent may already run threads of torch or HDF5.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread)
    try:
        # On a new machine both parts compile at once; afterwards every worker finds them in numba's cache.
        for compiled in [pool.submit(compile_transport), pool.submit(compile_images)]:
            compiled.result()
        yield from (f.result() for f in as_completed([pool.submit(make_shard, plan, s, work) for s in shards]))
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
    os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1")


def _make_shards(plan: Plan, shards: Sequence[Shard], work: Path) -> list[int]:
    return [make_shard(plan, shard, work) for shard in shards]


def _on_cluster(
    plan: Plan, shards: Sequence[Shard], work: Path, jobs: int, parameters: Mapping[str, Any]
) -> Iterator[int]:
    """`jobs` jobs of about equal size. parameters: `cluster` ("slurm", "local", ...) and submitit's own, e.g.
    slurm_partition, timeout_min, mem_gb. The folder must be on a file system that all nodes see."""
    try:
        import submitit
    except ImportError as error:
        raise BenchmarkError(
            "The executor submitit needs the package 'submitit', which is missing. The extra `cluster` was expected. "
            "Type `pip install 'particlebench[cluster]'`, or use --executor local."
        ) from error
    settings = {"timeout_min": 240, "cpus_per_task": 1, **parameters}
    executor = submitit.AutoExecutor(folder=str(work / "jobs"), cluster=settings.pop("cluster", None))
    executor.update_parameters(**settings)
    batches = [shards[i::jobs] for i in range(min(jobs, len(shards)))]
    running = executor.map_array(_make_shards, [plan] * len(batches), batches, [work] * len(batches))
    yield from _wait(list(running), list(shards), work)


def _wait(
    running: list[Any], shards: list[Shard], work: Path, sleep: Callable[[float], None] = time.sleep
) -> Iterator[int]:
    """Finished shards appear as files, so progress is shown long before a job ends."""
    pending = set(shards)
    while pending:
        done = {s for s in pending if s.path(work).is_file()}
        pending -= done
        yield from (s.n_events for s in sorted(done))
        if pending and all(job.done() for job in running):
            for job in running:
                _raise_failure(job)
            pending = {s for s in pending if not s.path(work).is_file()}
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
