"""Several processes that train together (torchrun, srun): who this one is, and what the first does for all.

One process is the plain case: then nothing here imports torch or talks to anybody.
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
PATIENCE = timedelta(hours=12)  # while the first process packs data or scores, the others wait


@dataclass(frozen=True)
class Processes:
    """This process among those that run the same command."""

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
    n = _number("WORLD_SIZE", 1)
    if "RANK" in os.environ and n > 1:
        return Processes(_number("RANK", 0), n, _number("LOCAL_RANK", 0), _number("LOCAL_WORLD_SIZE", n))
    n = _number("SLURM_STEP_NUM_TASKS", 1)  # of a step of srun; a batch script has none
    if n > 1:
        n_machines = _number("SLURM_STEP_NUM_NODES", 1)
        return Processes(_number("SLURM_PROCID", 0), n, _number("SLURM_LOCALID", 0), n // n_machines)
    return Processes()


def _number(name: str, otherwise: int) -> int:
    return int(os.environ.get(name, otherwise))


def join(device: str) -> Processes:
    """Connect the processes of this command, once; with a GPU each where `device` is cuda. Alone, nothing happens."""
    own = processes()
    if own.n == 1:
        return own
    import torch

    if device == "cuda":
        torch.cuda.set_device(own.local_rank)
    if not torch.distributed.is_initialized():
        export_torchrun_env(own)
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, rank=own.rank, world_size=own.n, timeout=PATIENCE)
        atexit.register(_leave)
    return own


def from_first(make: Callable[[], T]) -> T:
    """What `make` returns in the first process, in every process. Its failure is everybody's."""
    own = processes()
    if own.n == 1:
        return make()
    from torch import distributed

    answer: list[Any] = [None, None]  # value, failure
    try:
        if own.first:
            answer[0] = make()
    except Exception as error:
        answer[1] = f"{type(error).__name__}: {error}"
        raise
    finally:
        distributed.broadcast_object_list(answer, src=0)
    if answer[1] is not None:
        raise BenchmarkError(f"The first process stopped ({answer[1]}). All were expected to go on. See its message.")
    value: T = answer[0]
    return value


@contextmanager
def after_first() -> Iterator[None]:
    """The first process passes through the block alone; the others follow, and find what it has made."""
    own = processes()
    if own.n == 1:
        yield
        return
    from torch import distributed

    if not own.first:
        distributed.barrier()
    try:
        yield
    finally:  # after a failure too, which the others then meet themselves
        if own.first:
            distributed.barrier()


def export_torchrun_env(own: Processes) -> None:
    """Lightning and torch read these variables; srun gives the same facts under other names."""
    if "MASTER_ADDR" not in os.environ:
        from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

        cluster = SLURMEnvironment(auto_requeue=False)
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = cluster.main_address, str(cluster.main_port)
    for name, value in (
        ("RANK", own.rank), ("WORLD_SIZE", own.n), ("LOCAL_RANK", own.local_rank), ("LOCAL_WORLD_SIZE", own.n_local),
        ("GROUP_RANK", own.rank // own.n_local),
    ):  # fmt: skip
        os.environ.setdefault(name, str(value))


def _leave() -> None:
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()
