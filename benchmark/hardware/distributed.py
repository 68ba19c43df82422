"""Distributed processes (torchrun, srun): this one's rank, and work that the first does for all.

With a single process nothing here imports torch or communicates.
"""

from __future__ import annotations

import atexit
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from benchmark.errors import BenchmarkError, ConfigError, one_line
from benchmark.seeding import seed_from

T = TypeVar("T")
PATIENCE = timedelta(hours=12)  # while the first process builds the cache or scores, the others wait
JOIN_PATIENCE = timedelta(minutes=5)  # until all processes of the command have started
_QUIET_S = 15.0  # before a process says that it waits for the others
_LOST = ("gloo", "NCCL", "closed by peer", "reset by peer", "Broken pipe")  # in errors of torch's connections


@dataclass(frozen=True)
class Processes:
    """This process's rank among those of the same command."""

    rank: int = 0
    n: int = 1  # all of them, on all machines
    local_rank: int = 0  # on this machine; also the number of its GPU
    n_local: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and talks to the user."""
        return self.rank == 0

    @property
    def n_machines(self) -> int:
        """Machines, each with the same number of processes."""
        return self.n // self.n_local


def processes() -> Processes:
    """From the environment that torchrun (WORLD_SIZE ...) or srun (SLURM_STEP_NUM_TASKS ...) gives each process."""
    n = _env_int("WORLD_SIZE", 1)
    if "RANK" in os.environ and n > 1:
        return Processes(_env_int("RANK", 0), n, _env_int("LOCAL_RANK", 0), _env_int("LOCAL_WORLD_SIZE", n))
    n = _env_int("SLURM_STEP_NUM_TASKS", 1)  # of a step of srun; a batch script has none
    if n > 1:
        n_machines = _env_int("SLURM_STEP_NUM_NODES", 1)
        return Processes(_env_int("SLURM_PROCID", 0), n, _env_int("SLURM_LOCALID", 0), n // n_machines)
    return Processes()


def _env_int(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    try:
        return int(text) if text else default
    except ValueError as error:
        raise ConfigError(
            f"The variable {name} is {text!r}. A whole number, as torchrun and srun set it, was expected. Put `env -u "
            f"{name}` before the command to run it in one process."
        ) from error


def join(device: str) -> Processes:
    """Connect the processes of this command, once; with a GPU each where `device` is cuda. No-op for one process."""
    group = processes()
    if group.n == 1:
        return group
    import torch

    if device == "cuda":
        torch.cuda.set_device(group.local_rank)
    if not torch.distributed.is_initialized():
        origin = _origin()  # what is exported next hides it
        export_torchrun_env(group)
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        store = _meet(group, origin)
        torch.distributed.init_process_group(
            backend, store=store, rank=group.rank, world_size=group.n, timeout=PATIENCE
        )
        atexit.register(_destroy_group)
    return group


def _meet(group: Processes, origin: str) -> Any:
    """The store at which all processes of the command have met. Raises BenchmarkError where some do not come."""
    from torch.distributed.rendezvous import rendezvous

    place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    minutes = JOIN_PATIENCE.total_seconds() / 60
    this = f"This is process {group.rank} of {group.n} of one command"
    told = f"{this}: it waits at {place} for the others, {minutes:g} minutes at most"
    reminder = threading.Timer(_QUIET_S, print, (told,), {"file": sys.stderr, "flush": True})
    reminder.daemon = True
    reminder.start()
    try:
        store, _, _ = next(rendezvous("env://", group.rank, group.n, timeout=JOIN_PATIENCE))
    except RuntimeError as error:  # torch's DistError among them
        raise BenchmarkError(
            f"{this}, as {origin} says, and the others have not come to {place} within {minutes:g} minutes "
            f"({one_line(error)}). All were expected to start together. Start the command with srun "
            f"or torchrun, or, to run it in one process, put `env -u {origin}` before it."
        ) from error
    finally:
        reminder.cancel()
    return store


def _origin() -> str:
    """The variable that says how many processes the command has."""
    return "WORLD_SIZE" if "RANK" in os.environ and _env_int("WORLD_SIZE", 1) > 1 else "SLURM_STEP_NUM_TASKS"


def from_first(make: Callable[[], T]) -> T:
    """Run `make` in the first process and return its value in all. An error is raised in all."""
    group = processes()
    if group.n == 1:
        return make()
    from torch import distributed

    result: list[Any] = [None, None]  # value, failure
    try:
        if group.first:
            result[0] = make()
    except Exception as error:
        result[1] = f"{type(error).__name__}: {error}"
        raise
    finally:
        with others_needed():
            distributed.broadcast_object_list(result, src=0)
    if result[1] is not None:
        raise BenchmarkError(f"The first process stopped ({result[1]}). All were expected to go on. See its message.")
    value: T = result[0]
    return value


@contextmanager
def after_first() -> Iterator[None]:
    """The first process runs the block; the others run it afterwards."""
    group = processes()
    if group.n == 1:
        yield
        return
    if not group.first:
        _meet_others()
    try:
        yield
    finally:  # after an error too, which the others then raise themselves
        if group.first:
            _meet_others()


def _meet_others() -> None:
    from torch import distributed

    with others_needed():
        distributed.barrier()


@contextmanager
def others_needed(place: Callable[[], str] = str) -> Iterator[None]:
    """Raise BenchmarkError where another process of the command ends while this one works with it in the block.

    place: tells how far this process has come, as ` after step 7`.
    """
    try:
        yield
    except RuntimeError as error:  # torch's DistError among them; gloo's have no class of their own
        group = processes()
        if group.n == 1 or not any(text in str(error) for text in _LOST):
            raise
        raise BenchmarkError(
            f"Process {group.rank} of {group.n} cannot go on{place()}: another process of this command has ended. All "
            f"were expected to work to the end. See the message of that process, then type the same command again: it "
            f"continues from the last training state."
        ) from error


def export_torchrun_env(group: Processes) -> None:
    """Lightning and torch read these variables; srun sets the same values under other names."""
    if "MASTER_ADDR" not in os.environ:
        os.environ["MASTER_ADDR"] = _first_node()
    if "MASTER_PORT" not in os.environ:  # the same in all processes, another one for every step of a job
        numbers = (os.environ.get("SLURM_JOB_ID", "0"), os.environ.get("SLURM_STEP_ID", "0"))
        os.environ["MASTER_PORT"] = str(15000 + seed_from("port", *numbers) % 10000)
    for name, value in (
        ("RANK", group.rank), ("WORLD_SIZE", group.n), ("LOCAL_RANK", group.local_rank),
        ("LOCAL_WORLD_SIZE", group.n_local), ("GROUP_RANK", group.rank // group.n_local),
    ):  # fmt: skip
        os.environ.setdefault(name, str(value))


def _first_node() -> str:
    """Name of the first machine of a step of srun: SLURM_STEP_NODELIST is `node7`, `node[7-9,12]` or `a1,b2`."""
    nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_NODELIST") or "127.0.0.1"
    return re.sub(r"\[(\d+).*?\]", r"\1", re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)[0])  # type: ignore[index]


def _destroy_group() -> None:
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()
