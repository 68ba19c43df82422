"""Distributed processes (torchrun, srun): this one's rank, and work that the first does for all.

With a single process nothing here imports torch or communicates.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from benchmark.errors import BenchmarkError

T = TypeVar("T")
PATIENCE = timedelta(hours=12)  # while the first process builds the cache or scores, the others wait


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
    return int(os.environ.get(name, default))


def join(device: str) -> Processes:
    """Connect the processes of this command, once; with a GPU each where `device` is cuda. No-op for one process."""
    group = processes()
    if group.n == 1:
        return group
    import torch

    if device == "cuda":
        torch.cuda.set_device(group.local_rank)
    if not torch.distributed.is_initialized():
        export_torchrun_env(group)
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, rank=group.rank, world_size=group.n, timeout=PATIENCE)
        atexit.register(_destroy_group)
    return group


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
    from torch import distributed

    if not group.first:
        distributed.barrier()
    try:
        yield
    finally:  # after an error too, which the others then raise themselves
        if group.first:
            distributed.barrier()


def export_torchrun_env(group: Processes) -> None:
    """Lightning and torch read these variables; srun sets the same values under other names."""
    if "MASTER_ADDR" not in os.environ:
        from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

        cluster = SLURMEnvironment(auto_requeue=False)
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = cluster.main_address, str(cluster.main_port)
    for name, value in (
        ("RANK", group.rank), ("WORLD_SIZE", group.n), ("LOCAL_RANK", group.local_rank),
        ("LOCAL_WORLD_SIZE", group.n_local), ("GROUP_RANK", group.rank // group.n_local),
    ):  # fmt: skip
        os.environ.setdefault(name, str(value))


def _destroy_group() -> None:
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()
