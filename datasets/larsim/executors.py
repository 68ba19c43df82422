"""Where shards are made: this process, local processes, or a cluster through submitit (see `_simulation`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmark.datasets._simulation import Executor, available_cores, run_pieces

from .plan import Plan
from .shards import Shard, compile_images, compile_transport, make_shard

__all__ = ["Executor", "available_cores", "run_shards"]


def run_shards(
    plan: Plan,
    shards: Sequence[Shard],
    work: Path,
    workers: int,
    executor: Executor,
    cluster: Mapping[str, Any],
) -> Iterator[int]:
    """Make the shards, in any order; yields the number of events of each as it is finished."""
    make = partial(make_shard, plan)
    return run_pieces(make, shards, work, workers, executor, cluster, (compile_transport, compile_images))
