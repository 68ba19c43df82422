"""How a run is carried out: device, threads, folders, limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import ConfigError
from benchmark.hardware.distributed import processes
from benchmark.hardware.locks import locked_folder
from benchmark.hardware.machine import Machine, set_up_machine
from benchmark.records.record import RunRecord
from benchmark.records.store import records_dir


@dataclass(frozen=True)
class Execution:
    """How a run is carried out. Of these, only the type of device changes its result, and `compiled` its rounding."""

    device: str = "auto"  # auto | cpu | cuda
    threads: int | None = None  # CPU threads; None takes every usable core
    data: Path | None = None  # folder of the dataset; None takes the cache
    records: Path | None = None  # where records go; None takes `records_dir()`
    runs: Path = Path("runs")  # where logs and weights go
    max_minutes: float | None = None  # stop training after this time and score
    resume: bool = True  # continue an interrupted run
    force: bool = False  # run again even if recorded
    compiled: bool = False  # compile the blocks of transformers in training; GPUs only

    @property
    def records_folder(self) -> Path:
        """Where records go."""
        return self.records or records_dir()


@dataclass(frozen=True)
class Outcome:
    """A record, and whether this call ran it."""

    record: RunRecord
    fresh: bool


Say = Callable[[str], None]


@contextmanager
def alone_in(folder: Path, subject: str, say: Say) -> Iterator[None]:
    """One command at a time in a folder; of several processes of this command, the first one holds the lock.

    Raises RecordError where the folder cannot be written.
    """
    if not processes().first:
        yield
        return
    with locked_folder(folder, subject, say):
        yield


def say_nothing(text: str) -> None:
    """Print nothing: for processes other than the first."""


def check_time(max_minutes: float | None) -> None:
    """Raises ConfigError for a time limit that is not positive."""
    if max_minutes is not None and not max_minutes > 0:
        raise ConfigError(
            f"--max-minutes {max_minutes} is not possible. A number above 0 was expected. Type --max-minutes 5."
        )


def machine_for(execution: Execution, device: str, precision: str) -> Machine:
    """Set up the machine for a command. Raises ConfigError."""
    check_time(execution.max_minutes)
    return set_up_machine(device, precision, execution.threads, execution.compiled)
