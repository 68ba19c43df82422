"""Reads damaged files in child processes, so that a crash, a hang or a flood of memory is an outcome."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.errors import BenchmarkError
from benchmark.hardware.signals import end_with_parent
from fuzz.mutations import BYTES, CODE_RAN, TEXT, pick
from fuzz.reader import Change, Reader, digest

LIMIT_S = 15.0
LIMIT_BYTES = 500 << 20
SPACE_BYTES = 3 << 30  # of addresses, beyond what a child has at its start
LONGEST = 1000  # characters that are kept of a message; the command line cuts it too
WARM_S = 300.0  # to make and read the valid files, which may compile, and to damage one
HUNG = "not read"
HARNESS = "harness"  # in place of the kind: a fault of the harness itself
FORK = get_context("fork")


@dataclass(frozen=True)
class Outcome:
    """What became of one damaged file."""

    reader: str
    index: int
    kind: str
    result: str  # same (as the valid file) | other (values) | refused (in one sentence) | failed
    note: str = ""  # the sentence, or what failed


def changes_of(reader: Reader) -> dict[str, Change]:
    """Every kind of damage of a reader's files."""
    general = {} if reader.only_own else {**BYTES, **(TEXT if reader.is_text else {})}
    return {**general, **reader.changes}


def generator_of(reader: Reader, seed: int, index: int) -> np.random.Generator:
    """Randomness of one damaged file: a function of its reader, seed and index."""
    return np.random.default_rng([seed, index, *reader.name.encode()])


def kind_of(reader: Reader, rng: np.random.Generator) -> str:
    """The kind of damage, drawn first; half of it is made with the format's own library, where there is one."""
    own = list(reader.changes)
    return pick(rng, own if own and rng.random() < 0.5 else list(changes_of(reader)))


def damage(reader: Reader, folder: Path, seed: int, index: int) -> str:
    """Damage one file of a folder of valid ones; returns the kind."""
    rng = generator_of(reader, seed, index)
    kind = kind_of(reader, rng)
    path = pick(rng, sorted(folder.glob(reader.targets)))
    changes_of(reader)[kind](path, rng)
    return kind


def try_one(
    reader: Reader, valid: Path, reference: str, seed: int, index: int, started: Callable[[], object] = lambda: None
) -> Outcome:
    """Damage a copy of the valid files, read it, and say what became of it. `started` is called between the two."""
    shutil.rmtree(reader.name, ignore_errors=True)
    folder = Path(reader.name)
    shutil.copytree(valid, folder)
    try:
        kind = damage(reader, folder, seed, index)
    except Exception:  # a fault of the harness
        return Outcome(reader.name, index, HARNESS, "failed", traceback.format_exc(limit=-3))
    started()
    before = _memory("VmRSS")
    _reset_peak()
    try:
        result, note = ("same" if digest(reader.read(folder)) == reference else "other"), ""
    except BenchmarkError as error:
        result, note = _judged(str(error))
    except Exception as error:
        result, note = "failed", _last_lines(error)
    if result == "other" and reader.is_sealed:
        result, note = "failed", "other values, although there is a checksum"
    grown = _memory("VmHWM") - before
    if grown > LIMIT_BYTES:
        result, note = "failed", f"memory: {grown >> 20} MiB more ({note[:200]})"
    if Path(CODE_RAN).exists():
        result, note = "failed", "code of the file ran"
        shutil.rmtree(CODE_RAN)
    return Outcome(reader.name, index, kind, result, note)


def _judged(message: str) -> tuple[str, str]:
    """A BenchmarkError is a refusal where its message is one readable line."""
    if not message.isprintable():
        return "failed", f"message of several lines, or with control characters: {message[:300]!r}"
    return "refused", message[:LONGEST]


def _last_lines(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "/site-packages/" not in f.filename and "/tests/fuzz/" not in f.filename]
    where = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
    return f"{type(error).__name__}: {str(error)[:160]!r} at {where}"


def _memory(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) << 10
    return 0


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def valid_folder(reader: Reader, root: Path) -> Path:
    """The valid files of a reader, made once for all processes."""
    folder = root / "valid" / reader.name
    if not folder.is_dir():
        partial = root / f"{reader.name}-{os.getpid()}"
        partial.mkdir()
        reader.make(partial)
        folder.parent.mkdir(exist_ok=True)
        try:
            partial.rename(folder)
        except OSError:
            shutil.rmtree(partial)  # another process was faster
    return folder


def _work(tasks: Connection, readers: Mapping[str, Reader], seed: int, root: Path) -> None:
    end_with_parent()
    os.setsid()  # its children end with it
    scratch = root / f"child-{os.getpid()}"
    scratch.mkdir()
    os.chdir(scratch)
    for stream in (0, 1, 2):
        os.dup2(os.open(os.devnull, os.O_RDWR), stream)
    sys.setrecursionlimit(1000)
    space = _memory("VmSize") + SPACE_BYTES
    references: dict[str, str] = {}
    for name, index in iter(tasks.recv, None):
        reader = readers[name]
        try:
            if name not in references:
                references[name] = _reference(reader, root)
                resource.setrlimit(resource.RLIMIT_AS, (space, resource.RLIM_INFINITY))
        except Exception:  # a fault of the harness
            tasks.send(Outcome(name, index, HARNESS, "failed", traceback.format_exc(limit=-3)))
            continue
        started = partial(tasks.send, "started")
        tasks.send(try_one(reader, root / "valid" / name, references[name], seed, index, started))


def _reference(reader: Reader, root: Path) -> str:
    """The digest of the values of the valid files."""
    shutil.copytree(valid_folder(reader, root), reader.name, dirs_exist_ok=True)
    return digest(reader.read(Path(reader.name)))


class _Child:
    """A process and the file it reads."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments
        self.tasks, other = FORK.Pipe()
        self.process = FORK.Process(target=_work, args=(other, *arguments))
        self.process.start()
        other.close()
        self.task: tuple[str, int] | None = None
        self.deadline = float("inf")

    def give(self, task: tuple[str, int]) -> None:
        """A file to read."""
        self.task, self.deadline = task, time.monotonic() + WARM_S
        self.tasks.send(task)

    def result(self) -> Outcome | None:
        """The outcome, once there is one."""
        assert self.task is not None
        try:
            while self.tasks.poll():
                message = self.tasks.recv()
                if isinstance(message, Outcome):
                    return message
                self.deadline = time.monotonic() + LIMIT_S
        except (EOFError, ConnectionResetError):
            self.process.join()
            code = self.process.exitcode or 0
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            return Outcome(*self.task, "", "failed", f"the process died: {name}")
        if time.monotonic() > self.deadline:
            return Outcome(*self.task, "", "failed", f"{HUNG} after {LIMIT_S:.0f} s")
        return None

    def end(self) -> None:
        """Kill it and its children."""
        if self.process.pid is not None and self.process.is_alive():
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                self.process.kill()
        self.process.join()
        self.tasks.close()


def run(
    readers: Sequence[Reader], indices: Mapping[str, Sequence[int]], seed: int, root: Path, n_processes: int
) -> Iterator[Outcome]:
    """The outcome of every damaged file, as they come: the first of each reader, the second of each, and so on.

    A hang counts if it repeats: machines are busy at times.
    """
    by_name = {reader.name: reader for reader in readers}
    waiting = sorted(((reader.name, index) for reader in readers for index in indices[reader.name]), key=itemgetter(1))
    total, n_done, hung = len(waiting), 0, set[tuple[str, int]]()
    waiting.reverse()
    arguments = (by_name, seed, root)
    children = [_Child(*arguments) for _ in range(min(n_processes, total))]
    try:
        while n_done < total:
            for child in children:
                if child.task is None and waiting:
                    child.give(waiting.pop())
            wait([child.tasks for child in children if child.task], timeout=1.0)
            for place, child in enumerate(children):
                outcome = child.result() if child.task else None
                if outcome is None:
                    continue
                task, child.task = child.task, None
                if not outcome.kind:  # hung or died: what is left of it goes too
                    child.end()
                    children[place] = _Child(*arguments)
                    if outcome.note.startswith(HUNG) and task not in hung:
                        hung.add(task)
                        waiting.append(task)
                        continue
                    reader = by_name[outcome.reader]
                    outcome = replace(outcome, kind=kind_of(reader, generator_of(reader, seed, outcome.index)))
                n_done += 1
                yield outcome
    finally:
        for child in children:
            child.end()
