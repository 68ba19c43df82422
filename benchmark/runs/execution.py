"""How a run is carried out: device, threads, folders, limits; and what its record says of that."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.errors import ConfigError
from benchmark.hardware.environment import describe_machine, usable_cores
from benchmark.hardware.kernels import missing
from benchmark.records.record import RunRecord


@dataclass(frozen=True)
class Execution:
    """How a run is carried out. The kind of device decides its result, `compiled` its rounding, the rest nothing."""

    device: str = "auto"  # auto | cpu | cuda
    threads: int | None = None  # CPU threads; None takes every usable core
    data: Path | None = None  # folder of the dataset; None takes the cache
    records: Path | None = None  # where records go; None takes `records_dir()`
    runs: Path = Path("runs")  # where logs and weights go
    max_minutes: float | None = None  # stop training after this time, score what there is
    resume: bool = True  # continue an interrupted run
    force: bool = False  # run again although recorded
    compiled: bool = False  # training compiles the blocks of transformers; on GPUs
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """A record, where it lies, and whether this call made it."""

    record: RunRecord
    fresh: bool


Say = Callable[[str], None]


def to_stderr(text: str) -> None:
    """Tell the user."""
    print(text, file=sys.stderr, flush=True)


def say_nothing(text: str) -> None:
    """What processes other than the first say."""


def check_time(max_minutes: float | None) -> None:
    """Raises ConfigError for a time limit that is none."""
    if max_minutes is not None and not max_minutes > 0:
        raise ConfigError(
            f"--max-minutes {max_minutes} is not possible. A number above 0 was expected. Type --max-minutes 5."
        )


def check_compiled(compiled: bool, device: str) -> None:
    """Raises ConfigError where blocks cannot be compiled: attention has to be one operator."""
    reason = missing() if compiled else None
    if compiled and (device != "cuda" or reason is not None):
        raise ConfigError(
            f"--compile cannot be done on {device}{'' if reason is None else f': {reason}'}. A GPU was expected. Leave "
            f"it out, or add --device cuda."
        )


def describe_environment(device: str, precision: str, threads: int) -> dict[str, Any]:
    """What a record says of the machine, and of tiles that somebody has tuned for its GPU."""
    import torch

    from benchmark.sparse.tiles import hash_of

    tiles = hash_of(torch.device(device))
    return {**describe_machine(device, precision, threads), **({} if tiles is None else {"tiles": tiles})}


def record_environment(execution: Execution, device: str, precision: str, threads: int, n: int) -> dict[str, Any]:
    """What a record says of where and how it was made, by `n` processes."""
    compiled = {"compiled": True} if execution.compiled else {}
    return {**describe_environment(device, precision, threads), "processes": n, **compiled}


def set_up_torch(asked: int | None) -> int:
    """Fix torch's CPU threads (None: every usable core) and its deterministic algorithms; returns the threads."""
    import torch

    if asked is not None and asked < 1:
        raise ConfigError(f"--threads {asked} is not possible. A number from 1 on was expected. Leave --threads out.")
    threads = asked or usable_cores()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # else torch also fills every new tensor with NaN first, a tenth to a quarter of a step on a CPU
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return threads
