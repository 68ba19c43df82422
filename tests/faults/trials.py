"""Trials: a command is disturbed, then repeated, and both times compared with one that was left in peace."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from faults.check import differs, half_written, left_over, misbehaved
from faults.child import Child, Fault
from faults.commands import COMMANDS, Command, start_folder

LIMIT_S = 300.0
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")


@dataclass(frozen=True)
class Undisturbed:
    """A command in peace: the folder it starts from, its result, duration and number of changes of files."""

    command: Command
    start: Path
    outcome: dict[str, Any]
    seconds: float
    n_calls: int


@dataclass
class Tally:
    """Trials of one command and kind of fault."""

    command: str
    fault: str
    tried: int = 0
    failures: list[str] = field(default_factory=list)  # what was done, and what was wrong then

    def add(self, done: str, problems: list[str]) -> None:
        """One trial more."""
        self.tried += 1
        if problems:
            self.failures.append(f"{done}: {'; '.join(problems[:3])}")


class Workshop:
    """A scratch folder, and the commands in it that were left in peace."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.seed = root, seed
        self._empty = start_folder(_made(root / "empty"))
        self._known: dict[str, Undisturbed] = {}

    def undisturbed(self, name: str) -> Undisturbed:
        """The command's result in peace; computed once."""
        if name not in self._known:
            command = COMMANDS[name]
            start = self.root / f"start-{name}"
            shutil.copytree(self._empty, start)
            for words in command.before:
                _succeed(words, start)
            for weights in sorted((start / "runs").glob("*/model.safetensors")):
                shutil.copy(weights, start / "weights.safetensors")
            folder = self.root / f"peace-{name}"
            shutil.copytree(start, folder)
            child = Child(command.words, folder, Fault())
            if child.wait(LIMIT_S) != 0:
                raise RuntimeError(f"{name} fails in peace: {child.errors[-2000:]}")
            seconds = time_of(child)
            self._known[name] = Undisturbed(command, start, command.outcome(folder), seconds, child.n_calls)
        return self._known[name]

    def moments(self, name: str, n: int) -> list[Fault]:
        """Seeded faults of a command: signals at changes of files and at times, in turn."""
        peace, rng = self.undisturbed(name), np.random.default_rng([self.seed, *name.encode()])
        faults = []
        for i in range(n):
            kind = SIGNALS[i % len(SIGNALS)]
            if i % 2:
                faults.append(Fault(kind, after_s=float(rng.uniform(0, 1.1 * peace.seconds))))
            else:
                faults.append(Fault(kind, call=int(rng.integers(1, peace.n_calls + 1))))
        return faults

    @contextmanager
    def folder(self, name: str, size: int = 0) -> Iterator[Path]:
        """A copy of the folder that a command starts from; with `size`, on a disk of this many bytes."""
        folder = self.root / "trial"
        folder.mkdir()
        try:
            if size:
                subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
            shutil.copytree(self.undisturbed(name).start, folder, dirs_exist_ok=True)
            yield folder
        finally:
            if size:
                subprocess.run(["umount", "-l", str(folder)], check=False)
            shutil.rmtree(folder, ignore_errors=True)

    def rerun(self, name: str, folder: Path, fault: Fault = Fault()) -> list[str]:  # noqa: B008
        """Problems of the same command afterwards, in peace."""
        command = self.undisturbed(name).command
        child = Child(command.words, folder, fault, "again")
        code = child.wait(LIMIT_S)
        if code != 0:
            return [f"rerun ends with {code}: {child.errors.strip()[-300:]}"]
        return self.compare(name, folder)

    def compare(self, name: str, folder: Path) -> list[str]:
        """Differences to the command in peace, half-written files and leftovers."""
        peace = self.undisturbed(name)
        try:
            differences = differs(peace.outcome, peace.command.outcome(folder))
        except Exception as error:
            differences = [f"no result: {type(error).__name__}: {error}"]
        return differences + half_written(folder) + left_over(folder)

    def disturb(self, name: str, fault: Fault, size: int = 0) -> list[str]:
        """Problems of a command with a fault, and of its repetition; with `size`, that one is on a larger disk."""
        with self.folder(name, size) as folder:
            child = Child(self.undisturbed(name).command.words, folder, fault)
            code = child.wait(LIMIT_S)
            problems = misbehaved("ENOSPC" if size else fault.kind, code, child.errors)
            if not child.left_alone():
                problems.append("a worker lives on")
            problems += half_written(folder)
            if size:
                subprocess.run(["mount", "-o", "remount,size=1g", str(folder)], check=True)
            return problems + self.rerun(name, folder)


def time_of(child: Child) -> float:
    """Seconds from the start of a child until its last output was written."""
    return max(child.files["calls"].stat().st_mtime - child.born, 0.05)


def _succeed(words: tuple[str, ...], folder: Path) -> None:
    child = Child(words, folder, Fault())
    if child.wait(LIMIT_S) != 0:
        raise RuntimeError(f"{' '.join(words)} fails: {child.errors[-2000:]}")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
