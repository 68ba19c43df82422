"""How a run is carried out: device, threads, folders, limits; and what its record says of that."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark.errors import ConfigError
from benchmark.hardware.machine import Machine, set_up_machine
from benchmark.records.record import RunRecord
from benchmark.records.store import records_dir
from benchmark.sparse.tiles import recorded_tiles


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

    @property
    def records_folder(self) -> Path:
        """Where records go."""
        return self.records or records_dir()


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


def machine_for(execution: Execution, device: str, precision: str) -> Machine:
    """The machine set up for a command, with tuned tiles in its description. Raises ConfigError."""
    check_time(execution.max_minutes)
    machine = set_up_machine(device, precision, execution.threads, execution.compiled)
    return replace(machine, description={**machine.description, **recorded_tiles(device)})
