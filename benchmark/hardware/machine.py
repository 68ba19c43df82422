"""The machine of one command, set up once: device, precision, threads, processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmark.errors import ConfigError
from benchmark.hardware.distributed import Processes, join
from benchmark.hardware.energy import EnergyMeter
from benchmark.hardware.environment import (
    choose_device,
    choose_precision,
    describe_machine,
    peak_memory_bytes,
    usable_cores,
)
from benchmark.hardware.kernels import missing


@dataclass(frozen=True)
class Machine:
    """Where a command computes."""

    device: str  # cpu | cuda
    threads: int  # CPU threads of torch
    processes: Processes
    energy: EnergyMeter  # counts from here
    description: dict[str, Any]  # entry in a record

    @property
    def place(self) -> str:
        """In words: `cpu, 2 threads`."""
        return f"{self.device}, {self.threads} threads" if self.device == "cpu" else self.device

    def peak_memory_bytes(self) -> int:
        """Largest memory held so far: of the GPU on cuda, else resident memory of this process."""
        return peak_memory_bytes(self.device)


def choose_hardware(device: str, precision: str) -> tuple[str, str]:
    """Device (cpu or cuda) and precision (32 or bf16) from the options, `auto` included. Raises ConfigError."""
    chosen = choose_device(device)
    return chosen, choose_precision(precision, chosen)


def set_up_machine(device: str, precision: str, threads: int | None, compiled: bool = False) -> Machine:
    """Fix torch's threads and deterministic algorithms, and connect the processes of this command.

    device, precision: as `choose_hardware` gives them. compiled: whether training compiles the blocks of transformers.
    Raises ConfigError for impossible settings.
    """
    check_compiled(compiled, device)
    meter, n_threads, group = EnergyMeter(device), set_up_torch(threads), join(device)
    extra: dict[str, Any] = {"compiled": True} if compiled else {}
    description = {**describe_machine(device, precision, n_threads), "processes": group.n, **extra}
    return Machine(device, n_threads, group, meter, description)


def check_compiled(compiled: bool, device: str) -> None:
    """Raises ConfigError where blocks cannot be compiled: attention must be one operator (Triton)."""
    reason = missing() if compiled else None
    if compiled and (device != "cuda" or reason is not None):
        raise ConfigError(
            f"--compile cannot be done on {device}{'' if reason is None else f': {reason}'}. A GPU was expected. Leave "
            f"it out, or add --device cuda."
        )


def set_up_torch(requested: int | None) -> int:
    """Fix torch's CPU threads (None: every usable core) and its deterministic algorithms; returns the threads."""
    import torch

    if requested is not None and requested < 1:
        raise ConfigError(
            f"--threads {requested} is not possible. A number from 1 on was expected. Leave --threads out."
        )
    threads = requested or usable_cores()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # else torch also fills every new tensor with NaN first, a tenth to a quarter of a step on a CPU
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return threads
