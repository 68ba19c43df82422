"""Faults other than a signal: full and read-only disks, a deleted cache, many writers, clocks, NaN, memory."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from faults.check import half_written, left_over, misbehaved
from faults.child import Child, Fault
from faults.commands import RUN
from faults.trials import LIMIT_S, Tally, Workshop

WRITING = ("simulate", "pack", "pretrain", "run", "evaluate", "site", "leaderboard", "tune")
Results = dict[str, Any]  # `calls`: moments and seed of each; `rows`: trials of each command and fault
BUILDING = ("simulate", "pack", "pretrain", "run", "tune", "site", "sweep")
MISSING = {"ENOSPC": "no space left at a change of a file", "EROFS": "read-only from a change of a file on"}


def refused_writes(shop: Workshop, kind: str, n: int) -> Iterator[Tally]:
    """Every change of a file fails from a seeded one on."""
    for name in WRITING:
        tally, rng = Tally(name, MISSING[kind]), np.random.default_rng([shop.seed, *kind.encode(), *name.encode()])
        for _ in range(n):
            fault = Fault(kind, call=int(rng.integers(1, shop.undisturbed(name).n_calls + 1)))
            tally.add(str(fault), shop.disturb(name, fault))
        yield tally


def full_disks(shop: Workshop, n: int) -> Iterator[Tally]:
    """A file system that is too small, by a seeded amount; where this user may mount one."""
    if not _may_mount():
        return
    for name in ("simulate", "pack", "pretrain", "run", "site"):
        tally, rng = Tally(name, "a disk that fills up"), np.random.default_rng([shop.seed, 3, *name.encode()])
        shop.undisturbed(name)
        before, after = (_bytes(shop.root / f"{kind}-{name}") for kind in ("start", "peace"))
        for _ in range(n):
            size = int(before + rng.uniform(0.02, 0.9) * (after - before))
            tally.add(f"{size - before} of {after - before} bytes free", shop.disturb(name, Fault(), size=size))
        yield tally


def deleted_caches(shop: Workshop, n: int) -> Iterator[Tally]:
    """The cache is deleted while a command runs."""
    for name in ("pack", "pretrain", "run", "evaluate"):
        tally, rng = (
            Tally(name, "the cache is deleted while it runs"),
            np.random.default_rng([shop.seed, 4, *name.encode()]),
        )
        peace = shop.undisturbed(name)
        for _ in range(n):
            after = float(rng.uniform(0, peace.seconds))
            with shop.folder(name) as folder:
                child = Child(peace.command.words, folder, Fault())
                timer = threading.Timer(after, shutil.rmtree, (folder / "cache",), {"ignore_errors": True})
                timer.start()
                code = child.wait(LIMIT_S)
                timer.join()
                problems = misbehaved("ENOENT", code, child.errors) + half_written(folder)
                tally.add(f"{after:.2f} s", problems + shop.rerun(name, folder))
        yield tally


def two_at_once(shop: Workshop, n: int) -> Iterator[Tally]:
    """The same command twice at the same time: both succeed, the result is that of one."""
    for name in BUILDING:
        tally, rng = Tally(name, "twice at once"), np.random.default_rng([shop.seed, 5, *name.encode()])
        peace = shop.undisturbed(name)
        for _ in range(n):
            apart = float(rng.uniform(0, 0.5 * peace.seconds))
            with shop.folder(name) as folder:
                first = Child(peace.command.words, folder, Fault(), "first")
                time.sleep(apart)
                second = Child(peace.command.words, folder, Fault(), "second")
                problems = []
                for child in (first, second):
                    code = child.wait(LIMIT_S)
                    if code != 0:
                        problems.append(f"exit code {code}: {child.errors.strip()[-300:]}")
                tally.add(f"{apart:.2f} s apart", problems + shop.compare(name, folder))
        yield tally


def twenty_writers(shop: Workshop, n: int) -> Iterator[Tally]:
    """Records written by twenty processes into one folder: each one is there once, whole."""
    from benchmark.records.store import read_record, read_records, write_record

    tally = Tally("run", "20 writers of records")
    template = read_record(next((shop.undisturbed("evaluate").start / "runs" / "records").rglob("pointnet-*.json")))
    per_writer = 10
    for trial in range(n):
        folder = Path(tempfile.mkdtemp(dir=shop.root))
        writers = []
        for writer in range(20):
            process = os.fork()
            if process == 0:
                code = 1
                try:
                    for i in range(per_writer):
                        name = f"{(writer // 2) * per_writer + i:064x}"[::-1]  # every record by two writers
                        write_record(folder, dataclasses.replace(template, fingerprint=name))
                    code = 0
                finally:
                    os._exit(code)
            writers.append(process)
        problems = [f"writer ends with {s}" for w in writers if (s := os.waitstatus_to_exitcode(os.waitpid(w, 0)[1]))]
        records, unreadable = read_records(folder)
        if len(records) != 10 * per_writer or len({r.fingerprint for r in records}) != len(records) or unreadable:
            problems.append(f"{len(records)} of {10 * per_writer} records, {len(unreadable)} not readable")
        tally.add(f"trial {trial}", problems + left_over(folder))
        shutil.rmtree(folder)
    yield tally


def clocks_set_back(shop: Workshop, n: int) -> Iterator[Tally]:
    """Interrupted, then repeated with a clock that is 30 days behind, among files that are from tomorrow."""
    for name in ("simulate", "pretrain", "run", "tune"):
        tally = Tally(name, "the clock is set back before the rerun")
        for fault in shop.moments(name, n):
            with shop.folder(name) as folder:
                child = Child(shop.undisturbed(name).command.words, folder, fault)
                child.wait(LIMIT_S)
                child.left_alone()
                tomorrow = time.time() + 86400
                for path in folder.rglob("*"):
                    os.utime(path, (tomorrow, tomorrow), follow_symlinks=False)
                tally.add(str(fault), shop.rerun(name, folder, Fault(clock_s=-30 * 86400.0)))
        yield tally


def losses_that_are_nan(shop: Workshop, n: int) -> Iterator[Tally]:
    """Training that diverges: one sentence with the step, the events and the last good state, every time again."""
    tally = Tally("run", "the loss is NaN")
    shop.undisturbed("run")
    for seed in range(n):
        words = (
            *RUN,
            "--seed",
            str(seed),
            "--set",
            "optim.lr=1e30",
            "--set",
            "optim.clip_norm=0",
            "--set",
            "train.steps=12",
        )
        problems: list[str] = []
        with shop.folder("run") as folder:
            for _ in range(2):
                child = Child(words, folder, Fault())
                code, errors = child.wait(LIMIT_S), child.errors
                said = all(text in errors for text in ("training loss is", "at step", "on the events train/", "state"))
                if code != 2 or not said or "Traceback" in errors:
                    problems.append(f"exit code {code}: {errors.strip()[-200:]}")
            tally.add(f"seed {seed}", problems + half_written(folder))
    yield tally


def memory_that_runs_out(shop: Workshop, n: int) -> Iterator[Tally]:
    """An address space that is too small: the batch size to try is named, and with room the run is finished."""
    tally = Tally("run", "memory runs out")
    shop.undisturbed("run")
    for i in range(n):
        words = (*RUN, "--set", "model.wide=(64,4000)")
        with shop.folder("run") as folder:
            child = Child(words, folder, Fault(memory=(8 + 8 * i) << 20))
            code, errors = child.wait(LIMIT_S), child.errors
            is_told = "Memory ran out with 2 events at once" in errors and "train.batch_size=1" in errors
            problems = [] if code == 2 and is_told else [f"exit code {code}: {errors.strip()[-300:]}"]
            again = Child(words, folder, Fault()).wait(LIMIT_S)  # with room
            problems += [f"rerun ends with {again}"] if again else []
            tally.add(f"{8 + 8 * i} MiB", problems + half_written(folder) + left_over(folder))
    yield tally


SCENARIOS: dict[str, Callable[[Workshop, int], Iterator[Tally]]] = {
    "full": full_disks,
    "no-space": lambda shop, n: refused_writes(shop, "ENOSPC", n),
    "read-only": lambda shop, n: refused_writes(shop, "EROFS", n),
    "cache": deleted_caches,
    "twice": two_at_once,
    "writers": twenty_writers,
    "clock": clocks_set_back,
    "nan": losses_that_are_nan,
    "memory": memory_that_runs_out,
}


def _bytes(folder: Path) -> int:
    """Bytes that the folder's files take on a disk of pages of 4 kB."""
    return sum(-(-path.stat().st_size // 4096) * 4096 + 4096 for path in folder.rglob("*"))


def _may_mount() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
        subprocess.run(["umount", folder], capture_output=True)
    return done.returncode == 0


def as_json(tallies: list[Tally], n: int, seed: int, earlier: Results | None = None) -> str:
    """All tallies, with their failures, added to those of earlier calls with other seeds."""
    results: Results = earlier or {"calls": [], "rows": []}
    rows = {(row["command"], row["fault"]): row for row in results["rows"]}
    for tally in tallies:
        old = rows.get((tally.command, tally.fault), {"tried": 0, "failures": []})
        failures = [*old["failures"], *(f"seed {seed}, {failure}" for failure in tally.failures)]
        rows[tally.command, tally.fault] = {
            "command": tally.command, "fault": tally.fault, "tried": old["tried"] + tally.tried, "failures": failures,
            "failed": len(failures),
        }  # fmt: skip
    calls = [*results["calls"], {"moments": n, "seed": seed}]
    return json.dumps({"calls": calls, "rows": list(rows.values())}, indent=1, sort_keys=True) + "\n"


def as_markdown(rows: list[dict[str, object]]) -> str:
    """The table tried / survived / failed."""
    lines = ["| command | fault | tried | survived | failed |", "|---|---|---:|---:|---:|"]
    for row in rows:
        tried, failed = int(str(row["tried"])), int(str(row["failed"]))
        lines.append(f"| {row['command']} | {row['fault']} | {tried} | {tried - failed} | {failed} |")
    tried, failed = (sum(int(str(row[name])) for row in rows) for name in ("tried", "failed"))
    lines.append(f"| all | | {tried} | {tried - failed} | {failed} |")
    return "\n".join(lines) + "\n"
