"""The command that a record holds: typed again in the same folder, it repeats the run.

It is made of what was asked and used, not copied from the terminal: so a run of a sweep, of a notebook, or beside
another model has a command of its own, with the device and the threads that it had. Paths are written as
`benchmark.paths.shown_path` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.hardware.distributed import processes
from benchmark.paths import PROGRAM, shown_path
from benchmark.runs.config import Request
from benchmark.runs.execution import Execution

_EVENTS = ("pretext", "task", "dataset", "preset", "seed")  # options of a request, of every command
_LABELLED = ("pretext", "task", "dataset", "preset", "mode", "draw", "seed", "split")


def command(words: Sequence[str], options: Mapping[str, Any], execution: Execution) -> tuple[str, ...]:
    """The program, the words, each option with its value, then how it was carried out.

    An option that is None or False is left out; one with a tuple of values is repeated.
    """
    how = {
        "data": execution.data, "device": None if execution.device == "auto" else execution.device,
        "threads": execution.threads, "max-minutes": execution.max_minutes, "compile": execution.compiled,
        "records": execution.records,
    }  # fmt: skip
    typed = [word for name, value in {**options, **how}.items() for word in _option(name, value)]
    return (*_program(), *words, *typed)


def run_command(request: Request, execution: Execution) -> tuple[str, ...]:
    """The `run` of one request alone."""
    asked = _asked(request, _LABELLED)
    return command(("run",), {**asked, "checkpoint": request.checkpoint, "pretrain": request.pretrain}, execution)


def pretrain_command(request: Request, execution: Execution, probe_every: int = 0) -> tuple[str, ...]:
    """The `pretrain` whose weights a `run` of this request starts from."""
    asked = _asked(request, _EVENTS)
    del asked["labels"]
    return command(("pretrain",), {**asked, "probe-every": probe_every or None}, execution)


def tune_command(request: Request, execution: Execution, search: Mapping[str, Any]) -> tuple[str, ...]:
    """The search for the learning rate of a request. search: options of `tune` alone."""
    return command(("tune",), {**_asked(request, _LABELLED), **search}, execution)


def _asked(request: Request, names: Sequence[str]) -> dict[str, Any]:
    """Model, labels, and those options of a request that differ from the defaults."""
    usual = Request(request.model)
    changed = {name: getattr(request, name) for name in names if getattr(request, name) != getattr(usual, name)}
    return {"model": request.model, "labels": request.labels, **changed, "set": request.assignments}


def _option(name: str, value: Any) -> list[str]:
    if value is None or value is False:
        return []
    if value is True:
        return [f"--{name}"]
    values = value if isinstance(value, tuple) else (value,)
    return [word for v in values for word in (f"--{name}", shown_path(str(v)))]


def _program() -> tuple[str, ...]:
    """How this command was started: alone, or in several processes."""
    group = processes()
    if group.n == 1:
        return PROGRAM
    if group.n_machines == 1:
        return ("torchrun", "--nproc-per-node", str(group.n), *PROGRAM[1:])
    return ("srun", "--nodes", str(group.n_machines), "--ntasks", str(group.n), *PROGRAM)
