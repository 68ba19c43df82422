"""Simulated data sets: many events in parallel, resumable, in PILArNet-M's files.

Shards are made in `<out>/.work` (`_simulation`); when all shards of all splits exist, the HDF5 files are
written, then the manifest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmark.datasets._pieces import Executor
from benchmark.datasets._simulation import Simulation
from benchmark.errors import ConfigError
from benchmark.io import sha256_file

from .images import Image
from .plan import CONTENT, SPLITS, Plan, SimulationSettings, check_plan
from .shards import compile_images, compile_transport, is_finished, make_shard, read_shard, shards_of
from .writer import Version, file_path, points_path, write_events

NOTICE = (
    "These events are simulated by particlebench itself (fast liquid-argon simulation); "
    "they are no substitute for PILArNet-M."
)


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


SIMULATION = Simulation(
    title="simulating liquid-argon events",
    notice=NOTICE,
    content=CONTENT,
    check=check_plan,
    pieces=shards_of,
    make=make_shard,
    is_finished=is_finished,
    publish=_write_splits,
    warm_up=(compile_transport, compile_images),
)
simulate_plan = SIMULATION.simulate


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
    """Simulate `events` events in all, of which `val` and `test` (default: 5% and 10%) form separate splits.

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
    """Events per split; the remainder is for training. Raises ConfigError if none remain."""
    if events < 1:
        raise ConfigError(
            f"{events} events were requested. At least 1 was expected. Give another number with --events."
        )
    n_val = round(0.05 * events) if val is None else val
    n_test = round(0.1 * events) if test is None else test
    if min(n_val, n_test) < 0 or n_val + n_test >= events:
        raise ConfigError(
            f"{n_val} validation and {n_test} test events leave {events - n_val - n_test} of {events} for training. "
            f"Counts of at least 0 that leave some were expected. Raise --events or lower the others."
        )
    return {s: n for s, n in zip(SPLITS, (events - n_val - n_test, n_val, n_test), strict=True) if n}
