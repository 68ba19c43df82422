"""Time and memory of one command in a process of its own."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Used:
    """What a command took, the processes that it starts included."""

    cpu_s: float
    own_mb: float  # peak of the memory that belongs to the largest process (`RssAnon`, looked at every 20 ms)
    resident_mb: float  # of all its resident pages: mapped files too, which the system takes back when it needs room


def used_by(words: Sequence[str], folder: Path) -> Used:
    """Run `python -m benchmark` in a folder, with its cache there. Raises RuntimeError where it fails."""
    environment = {
        **os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PARTICLEBENCH_CACHE": str(folder / "cache"),
    }  # fmt: skip
    before, own_kb, resident_kb = _cpu_s(), 0, 0
    with (folder / "messages").open("wb") as messages:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmark", *words], cwd=folder, env=environment, stdout=messages, stderr=messages
        )
        while process.poll() is None:
            own_kb = max(own_kb, _kilobytes(process.pid, "RssAnon"))
            resident_kb = max(resident_kb, _kilobytes(process.pid, "VmRSS"))
            time.sleep(0.02)
    if process.returncode:
        raise RuntimeError((folder / "messages").read_text(encoding="utf-8"))
    return Used(round(_cpu_s() - before, 1), round(own_kb / 1024, 1), round(resident_kb / 1024, 1))


def _cpu_s() -> float:
    """Seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _kilobytes(process: int, name: str) -> int:
    """The largest figure in `/proc/PID/status` of a process and its children; 0 where they have ended."""
    folder = Path(f"/proc/{process}")
    try:
        lines = (folder / "status").read_text().splitlines()
        children = (folder / "task" / str(process) / "children").read_text().split()
    except OSError:
        return 0
    own = sum(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
    return max([own, *(_kilobytes(int(child), name) for child in children)])
