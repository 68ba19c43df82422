"""Memory and time of one command by the number of events: training on more and more events, scoring more and more.

    PYTHONPATH=.:tests python -m scale.memory --out tests/scale/memory.json

Files have PILArNet-M's schema and small events (60 points on average), so that a million fit on a disk. `train`: N
training events, 100 test events. `test`: 100 training events, N test events. Peak memory is resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
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
    peak_mb: float


def main() -> None:
    """Measure every size and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the results")
    parser.add_argument("--events", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    arguments = parser.parse_args()
    results = []
    for grows in ("train", "test"):
        for n_events in arguments.events:
            with tempfile.TemporaryDirectory() as folder:
                sizes = {"train": N_FIXED, "test": N_FIXED, grows: n_events}
                for split, n in sizes.items():
                    write_events(Path(folder) / "events" / split / f"generic_v2_{n}_v2.h5", n)
                for command in ("first", "again"):
                    results.append(asdict(Measured(grows, n_events, command, *_run(Path(folder)))))
                    print(json.dumps(results[-1]), flush=True)
    document = {"machine": processor(), "results": results}
    arguments.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


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


def _run(folder: Path) -> tuple[float, float]:
    """Seconds and peak memory, MB, of one command in a process of its own."""
    settings = ("train.steps=20", "preprocess.min_points=0")
    command = [
        sys.executable, "-m", "benchmark", "run", "--model", "deep_sets", "--preset", "tiny", "--labels", "50",
        "--force", "--dataset", "pilarnet-m", "--data", str(folder / "events"), "--beside", "none", "--threads", "1",
        "--records", str(folder / "records"), *(part for s in settings for part in ("--set", s)),
    ]  # fmt: skip
    environment = {
        **os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PARTICLEBENCH_CACHE": str(folder / "cache"),
    }  # fmt: skip
    started = time.monotonic()
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as p:
        assert p.stderr is not None
        message = p.stderr.read().decode()
        _, status, used = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode:
        raise RuntimeError(message)
    return round(time.monotonic() - started, 1), round(used.ru_maxrss / 1024, 1)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
