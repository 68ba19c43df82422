"""Simulated data sets: many events in parallel, resumable, in PILArNet-M's files.

Work happens in `<out>/.work`: the plan, then one file per finished shard. When all shards of all splits are there,
the HDF5 files are written, then the manifest `simulation.json`, and `.work` goes. So an output folder with a manifest
is whole, and one without can be resumed by the same command.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
import numpy as np

from benchmark import __version__
from benchmark.errors import BenchmarkError, ConfigError, DataError
from benchmark.io import atomic_write_json, sha256_file
from benchmark.progress import progress

from .executors import Executor, available_cores, run_shards
from .images import Image
from .plan import SPLITS, Plan, SimulationSettings, check_plan
from .shards import is_finished, read_shard, shards_of
from .writer import Version, file_path, points_path, write_events

MANIFEST = "simulation.json"
NOTICE = (
    "These events are simulated by particlebench itself (fast liquid-argon simulation); "
    "they are no substitute for PILArNet-M."
)


def simulate(
    out: Path,
    *,
    events: int,
    split: str = "train",
    seed: int = 1,
    version: Version = "v2",
    workers: int | None = None,
    settings: SimulationSettings | None = None,
    executor: Executor = "local",
    cluster: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Simulate one split into `out`. Arguments and errors as `simulate_plan`; returns the manifest."""
    plan = Plan({split: events}, seed, version, settings or SimulationSettings())
    return simulate_plan(plan, out, workers=workers, executor=executor, cluster=cluster)


def simulate_dataset(
    out: Path,
    *,
    events: int,
    val: int | None = None,
    test: int | None = None,
    seed: int = 1,
    version: Version = "v2",
    workers: int | None = None,
    settings: SimulationSettings | None = None,
    executor: Executor = "local",
    cluster: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Simulate `events` events in all, of which `val` and `test` (default: 5% and 10%) form splits of their own.

    Splits of zero events are left out. Arguments and errors otherwise as `simulate_plan`; returns the manifest.
    """
    sizes = split_sizes(events, val, test)
    return simulate_plan(
        Plan(sizes, seed, version, settings or SimulationSettings()),
        out,
        workers=workers,
        executor=executor,
        cluster=cluster,
    )


def split_sizes(events: int, val: int | None = None, test: int | None = None) -> dict[str, int]:
    """Events per split; what validation and test leave is for training. Raises ConfigError when nothing is left."""
    if events < 1:
        raise ConfigError(
            f"{events} events were asked for. At least 1 was expected. Give another number with --events."
        )
    n_val = round(0.05 * events) if val is None else val
    n_test = round(0.1 * events) if test is None else test
    if min(n_val, n_test) < 0 or n_val + n_test >= events:
        raise ConfigError(
            f"{n_val} validation and {n_test} test events leave {events - n_val - n_test} of {events} for training. "
            f"Counts of at least 0 that leave some were expected. Raise --events or lower the others."
        )
    return {s: n for s, n in zip(SPLITS, (events - n_val - n_test, n_val, n_test), strict=True) if n}


def simulate_plan(
    plan: Plan,
    out: Path,
    *,
    workers: int | None = None,
    executor: Executor = "local",
    cluster: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Make the data set of `plan` in the folder `out` and return its manifest.

    workers: processes, or jobs of the executor submitit; None for one per core. cluster: parameters for submitit.
    An interrupted simulation of the same plan is continued. Raises BenchmarkError, one sentence, for settings that
    make no sense, a folder that holds anything else, a full disk, an interruption.
    """
    if workers is not None and workers < 1:
        raise ConfigError(
            f"{workers} workers were asked for. At least 1 was expected. Give another number with --workers."
        )
    check_plan(plan, out)
    check_folder(plan, out)
    work = out / ".work"
    with _locked(work):
        if (out / MANIFEST).is_file():  # another process has just finished it
            return read_manifest(out)
        check_folder(plan, out)
        atomic_write_json(work / "plan.json", plan.describe())
        _remove_partial_files(out)
        try:
            _make_shards(plan, work, workers or available_cores(), executor, cluster or {})
            files = _write_splits(plan, out, work)
        except KeyboardInterrupt as error:
            raise BenchmarkError(
                f"The simulation into {out} was interrupted. Finished events are kept there, and no unfinished file. "
                f"Repeat the same command to continue, or delete the folder."
            ) from error
        manifest = {
            **plan.describe(),
            "revision": plan.revision(),
            "files": files,
            "notice": NOTICE,
            "versions": _versions(),
        }
        atomic_write_json(out / MANIFEST, manifest)
    shutil.rmtree(work, ignore_errors=True)
    return manifest


def read_manifest(out: Path) -> dict[str, Any]:
    """The manifest of a finished simulation. Raises DataError when there is none or it is damaged."""
    try:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{out / MANIFEST} cannot be read. The manifest of a finished simulation was expected. "
            f"Type `python -m benchmark data simulate --events 1000 --out FOLDER` to make one."
        ) from error
    if not isinstance(manifest, dict):
        raise DataError(
            f"{out / MANIFEST} is no JSON object. The manifest of a simulation was expected. Delete the folder."
        )
    return manifest


def check_folder(plan: Plan, out: Path) -> None:
    """Only a new or empty folder, or an interrupted simulation of the same plan, may be written to."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file. A new folder was expected. Choose another --out.")
    if (out / MANIFEST).exists():
        raise ConfigError(
            f"{out} already holds a finished simulation. A new folder was expected. Choose another --out, or delete it."
        )
    begun = out / ".work" / "plan.json"
    if begun.is_file():
        differing = _differences(json.loads(begun.read_text(encoding="utf-8")), plan.describe())
        if differing:
            raise ConfigError(
                f"{out} holds an interrupted simulation with other settings ({'; '.join(differing)}). The same were "
                f"expected to continue it. Repeat its command, choose another --out, or delete the folder."
            )
    elif out.is_dir() and any(p.name != ".work" for p in out.iterdir()):
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
    for partial in sorted(out.rglob(".*.partial")):
        partial.unlink(missing_ok=True)


def _make_shards(plan: Plan, work: Path, workers: int, executor: Executor, cluster: Mapping[str, Any]) -> None:
    shards = shards_of(plan)
    missing = [s for s in shards if not is_finished(s, work)]
    done = plan.n_events - sum(s.n_events for s in missing)
    with progress("simulating liquid-argon events", plan.n_events) as bar:
        bar.update(done, "(the first run on a machine compiles first)" if not done else "(continued)")
        for count in run_shards(plan, missing, work, workers, executor, cluster):
            done += count
            bar.update(done)


def _write_splits(plan: Plan, out: Path, work: Path) -> dict[str, str]:
    """Write every split's file; returns relative path -> SHA-256."""
    written = {}
    for split, n_events in plan.events.items():
        path = file_path(out, split, n_events, plan.version)
        attributes = {"simulation": {**plan.describe(), "split": split}, "notice": NOTICE}
        write_events(path, _stored(plan, split, work), n_events, plan.version, attributes)
        for part in (path, points_path(path)):
            written[part.relative_to(out).as_posix()] = sha256_file(part)
    return written


def _stored(plan: Plan, split: str, work: Path) -> Iterator[Image]:
    for shard in shards_of(plan):
        if shard.split == split:
            yield from read_shard(shard, work)


def _versions() -> dict[str, str]:
    return {"particlebench": __version__, "numpy": np.__version__, "numba": numba.__version__}
