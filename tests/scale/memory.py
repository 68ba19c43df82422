"""Memory and time of one command by the number of events: training on more and more events, scoring more and more.

    PYTHONPATH=.:tests python -m scale.memory --out tests/scale/memory.json

Files have PILArNet-M's schema and small events (60 points on average), so that a million fit on a disk. `train`: N
training events, 100 test events. `test`: 100 training events, N test events. What the JSON file holds already is not
measured again. `own_mb` is the peak of the memory that belongs to the largest process of a command (`RssAnon`, looked
at every 20 ms), `resident_mb` that of all its resident pages: with those of the mapped pack, which the system takes
back when it needs them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np

from benchmark.hardware.environment import processor
from builders.pilarnet_files import WIDTHS, make_event

N_KINDS = 64  # events are copies of so many, each with an energy of its own
N_FIXED = 100  # events of the other split


@dataclass(frozen=True)
class Measured:
    """One command."""

    grows: str  # train | test
    n_events: int
    command: str  # first: events are packed | again: the pack exists
    wall_s: float
    own_mb: float
    resident_mb: float


def main() -> None:
    """Measure every size and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the results")
    parser.add_argument("--events", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--grows", nargs="+", default=["train", "test"], help="only this split: train or test")
    arguments = parser.parse_args()
    results = json.loads(arguments.out.read_text(encoding="utf-8"))["results"] if arguments.out.is_file() else []
    done = {(r["grows"], r["n_events"]) for r in results}
    for grows in arguments.grows:
        for n_events in arguments.events:
            if (grows, n_events) not in done:
                results += [asdict(m) for m in _measure(grows, n_events)]
                results.sort(key=lambda r: (r["grows"] != "train", r["n_events"]))
                document = {"machine": processor(), "results": results}
                arguments.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _measure(grows: str, n_events: int) -> list[Measured]:
    """Both commands with so many events in one split."""
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        for split, n in {"train": N_FIXED, "test": N_FIXED, grows: n_events}.items():
            write_events(Path(folder) / "events" / split / f"generic_v2_{n}_v2.h5", n)
        for command in ("first", "again"):
            measured.append(Measured(grows, n_events, command, *_run(Path(folder))))
            print(json.dumps(asdict(measured[-1])), flush=True)
    return measured


def write_events(path: Path, n_events: int) -> None:
    """A file of PILArNet-M's schema, version 2, with small events."""
    rng = np.random.default_rng(n_events)
    kinds = [make_event(rng, tuple(int(s) for s in rng.integers(5, 20, 5))) for _ in range(N_KINDS)]
    path.parent.mkdir(parents=True)
    lengths = np.array([len(kinds[k % N_KINDS].point) for k in range(n_events)], "i8")
    with h5py.File(path, "w", libver="latest") as h5:
        columns = {
            name: h5.create_dataset(name, (n_events,), dtype=h5py.vlen_dtype(np.dtype(kind)))
            for name, kind in (("point", "f4"), ("cluster", "i8"), ("cluster_extra", "f4"))
        }
        for k in range(n_events):
            event = kinds[k % N_KINDS]
            point = event.point.copy()
            point[0, 3] += k / n_events  # no two events are equal
            columns["point"][k] = point.ravel()
            columns["cluster"][k] = event.cluster[:, : WIDTHS["v2"]].ravel()
            columns["cluster_extra"][k] = event.extra[:, :5].ravel()
    np.save(path.with_name(f"{path.stem}_points.npy"), lengths)


def _run(folder: Path) -> tuple[float, float, float]:
    """Seconds, own and resident memory at their peaks, MB, of one command in a process of its own."""
    settings = ("train.steps=20", "preprocess.min_points=0")
    command = [
        sys.executable, "-m", "benchmark", "run", "--model", "deep_sets", "--preset", "tiny", "--labels", "50",
        "--force", "--dataset", "pilarnet-m", "--data", str(folder / "events"), "--beside", "none", "--threads", "1",
        "--records", str(folder / "records"), *(part for s in settings for part in ("--set", s)),
    ]  # fmt: skip
    environment = {
        **os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PARTICLEBENCH_CACHE": str(folder / "cache"),
    }  # fmt: skip
    started, own_kb, resident_kb = time.monotonic(), 0, 0
    with (folder / "messages").open("wb") as messages:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=messages)
        while process.poll() is None:
            own_kb = max(own_kb, _kilobytes(process.pid, "RssAnon"))
            resident_kb = max(resident_kb, _kilobytes(process.pid, "VmRSS"))
            time.sleep(0.02)
    if process.returncode:
        raise RuntimeError((folder / "messages").read_text(encoding="utf-8"))
    return round(time.monotonic() - started, 1), round(own_kb / 1024, 1), round(resident_kb / 1024, 1)


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


if __name__ == "__main__":
    main()
