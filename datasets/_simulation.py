"""What every simulated data set needs: pieces made in parallel, and folders that are whole or can be resumed.

Work happens in `<out>/.work`: the plan, then one file per finished piece; the manifest `simulation.json` comes last. So
an output folder with a manifest is whole, and one without can be resumed by the same command.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numba
import numpy as np

from benchmark import __version__, cluster
from benchmark.errors import BenchmarkError, ConfigError, DataError
from benchmark.io import atomic_write_json

from ._identity import Content

Executor = Literal["local", "submitit"]
MANIFEST = "simulation.json"
WORK = ".work"
_POLL_S = 0.5
_REMEDY = "Give a folder that `data prepare` made, or delete this one and prepare it again."


class Piece(Protocol):
    """A part of a data set: the unit of work and of resuming. Sortable, hashable and small, as it travels."""

    @property
    def n_events(self) -> int:
        """Events in it."""
        ...

    def path(self, work: Path) -> Path:
        """The file that exists once the piece is made."""
        ...


P = TypeVar("P", bound=Piece)


# ---- running pieces


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
        # On a new machine all parts compile at once; afterwards every worker finds them in numba's cache.
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
        done = [p for p in pending if p.path(work).is_file()]
        pending = [p for p in pending if p not in done]
        yield from (p.n_events for p in done)
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


# ---- folders


def produce(
    description: Mapping[str, Any],
    content: Content,
    out: Path,
    workers: int | None,
    make: Callable[[Path, int], Mapping[str, Any]],
) -> dict[str, Any]:
    """Make the data set that `description` says in the folder `out`, or continue it, and return its manifest.

    make(work, workers): makes what is missing in `work`, then the files in `out`; returns what the manifest says
    besides the description. content: of the simulation; what one of its earlier names began is continued. Raises
    BenchmarkError for a folder that holds anything else and for an interruption.
    """
    if workers is not None and workers < 1:
        raise ConfigError(
            f"{workers} workers were asked for. At least 1 was expected. Give another number with --workers."
        )
    check_folder(description, content, out)
    work = out / WORK
    with _locked(work):
        if (out / MANIFEST).is_file():  # another process has just finished it
            return read_manifest(out)
        check_folder(description, content, out)
        atomic_write_json(work / "plan.json", description)
        _remove_partial_files(out)
        try:
            made = make(work, workers or available_cores())
        except KeyboardInterrupt as error:
            raise BenchmarkError(
                f"The simulation into {out} was interrupted. Finished events are kept there, and no unfinished file. "
                f"Repeat the same command to continue, or delete the folder."
            ) from error
        manifest = {**description, **made, "versions": _versions()}
        atomic_write_json(out / MANIFEST, manifest)
    shutil.rmtree(work, ignore_errors=True)
    return manifest


def read_manifest(out: Path) -> dict[str, Any]:
    """The manifest of a finished simulation. Raises DataError when there is none or it is damaged."""
    try:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{out / MANIFEST} cannot be read. The manifest of a finished simulation was expected. {_REMEDY}"
        ) from error
    if not isinstance(manifest, dict):
        raise DataError(f"{out / MANIFEST} is no JSON object. The manifest of a simulation was expected. {_REMEDY}")
    return manifest


def check_folder(description: Mapping[str, Any], content: Content, out: Path) -> None:
    """Only a new or empty folder, or an interrupted simulation of the same plan, may be written to."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file. A new folder was expected. Choose another --out.")
    if (out / MANIFEST).exists():
        raise ConfigError(
            f"{out} already holds a finished simulation. A new folder was expected. Choose another --out, or delete it."
        )
    begun = out / WORK / "plan.json"
    if begun.is_file():
        differing = _differences(content.renamed(json.loads(begun.read_text(encoding="utf-8"))), description)
        if differing:
            raise ConfigError(
                f"{out} holds an interrupted simulation with other settings ({'; '.join(differing)}). The same were "
                f"expected to continue it. Repeat its command, choose another --out, or delete the folder."
            )
    elif out.is_dir() and any(p.name != WORK for p in out.iterdir()):
        raise ConfigError(
            f"{out} is not empty. A new folder was expected, so that nothing is overwritten. Choose another --out."
        )


def _differences(begun: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    def show(value: Any) -> str:
        text = json.dumps(value)
        return text if len(text) < 60 else "..."

    keys = sorted(k for k in {*begun, *asked} if begun.get(k) != asked.get(k))
    return [f"{k}: {show(begun.get(k))} there, {show(asked.get(k))} asked" for k in keys]


@contextmanager
def _locked(work: Path) -> Iterator[None]:
    """Two processes never make the same folder: the second waits for the first."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        stream = (work / "lock").open("w")
    except OSError as error:
        raise ConfigError(
            f"{work.parent} cannot be created: {error.strerror}. A writable place was expected. Choose another --out."
        ) from error
    with stream:
        try:
            import fcntl
        except ImportError:  # not on Windows
            yield
            return
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _remove_partial_files(out: Path) -> None:
    """What a killed process left; nothing else can be writing, because the folder is locked."""
    for partial_file in sorted(out.rglob(".*.partial")):
        partial_file.unlink(missing_ok=True)


def _versions() -> dict[str, str]:
    return {"particlebench": __version__, "numpy": np.__version__, "numba": numba.__version__}


def check_disk(n_events: int, n_bytes: float, out: Path) -> None:
    """Raises ConfigError where `n_bytes` do not fit."""
    existing = next(p for p in (out.absolute(), *out.absolute().parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if n_bytes > free:
        raise ConfigError(
            f"{n_events:,} events need about {n_bytes / 1e9:.1f} GB while they are made, and {existing} has "
            f"{free / 1e9:.1f} GB free. Enough free space was expected. Ask for fewer events or choose another folder."
        )
