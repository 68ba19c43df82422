"""Memory and time of one command by the number of events: training on more and more events, scoring more and more.

    PYTHONPATH=.:tests python -m scale.memory --out tests/scale/memory.json

Files have PILArNet-M's schema and small events (60 points on average), so that a million fit on a disk. `train`: N
training events, 100 test events. `test`: 100 training events, N test events. What the JSON file holds already is not
measured again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np

from benchmark.hardware.environment import processor
from builders.pilarnet_files import WIDTHS, make_event
from scale.used import Used, used_by

N_KINDS = 64  # events are copies of so many, each with an energy of its own
N_FIXED = 100  # events of the other split
WRITTEN_AT_ONCE = 10_000  # events


@dataclass(frozen=True)
class Measured:
    """One command."""

    grows: str  # train | test
    n_events: int
    command: str  # first: events are packed | again: the pack exists
    used: Used


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
            measured.append(Measured(grows, n_events, command, _run(Path(folder))))
            print(json.dumps(asdict(measured[-1])), flush=True)
    return measured


def write_events(path: Path, n_events: int) -> None:
    """A file of PILArNet-M's schema, version 2, with small events."""
    rng = np.random.default_rng(n_events)
    # 4 to 6 clusters each: h5py writes many events at once where their lengths differ
    kinds = [make_event(rng, tuple(int(s) for s in rng.integers(5, 20, 4 + k % 3))) for k in range(N_KINDS)]
    path.parent.mkdir(parents=True)
    lengths = np.array([len(kinds[k % N_KINDS].point) for k in range(n_events)], "i8")
    with h5py.File(path, "w", libver="latest") as h5:
        columns = {
            name: h5.create_dataset(name, (n_events,), dtype=h5py.vlen_dtype(np.dtype(kind)))
            for name, kind in (("point", "f4"), ("cluster", "i8"), ("cluster_extra", "f4"))
        }
        for begin in range(0, n_events, WRITTEN_AT_ONCE):
            numbers = range(begin, min(begin + WRITTEN_AT_ONCE, n_events))
            rows = {name: np.empty(len(numbers), object) for name in columns}
            for row, k in enumerate(numbers):
                event = kinds[k % N_KINDS]
                point = event.point.copy()
                point[0, 3] += k / n_events  # no two events are equal
                rows["point"][row] = point.ravel()
                rows["cluster"][row] = event.cluster[:, : WIDTHS["v2"]].ravel()
                rows["cluster_extra"][row] = event.extra[:, :5].ravel()
            for name, column in columns.items():
                column[numbers.start : numbers.stop] = rows[name]
    np.save(path.with_name(f"{path.stem}_points.npy"), lengths)


def _run(folder: Path) -> Used:
    settings = ("train.steps=20", "preprocess.min_points=0")
    words = [
        "run", "--model", "deep_sets", "--preset", "tiny", "--labels", "50", "--force", "--dataset", "pilarnet-m",
        "--data", "events", "--beside", "none", "--threads", "1", *(part for s in settings for part in ("--set", s)),
    ]  # fmt: skip
    return used_by(words, folder)


if __name__ == "__main__":
    main()
