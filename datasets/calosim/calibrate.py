"""Remake the tables of the local calibration from single pions of this simulation.

    python -m benchmark.datasets.calosim.calibrate [--events 120000]

The pions have a seed name of their own, so no calibration event is in a data set. Writes
datasets/calosim/data/local_calibration.npz.
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmark.io import atomic_path
from benchmark.progress import progress

from .generate import GeneratorSettings
from .local_calibration import TABLES, fill_tables
from .simulate import simulate_event

N_EVENTS = 120_000
_COLUMNS = ("E", "Eta", "CENTER_LAMBDA", "FIRST_ENG_DENS", "ENG_CALIB_TOT", "ENG_CALIB_OUT_T", "ENG_CALIB_DEAD_TOT")


def calibration_clusters(n_events: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Columns of the clusters of `n_events` single pions, and whether each comes from a charged one."""
    from .clusters import MOMENTS

    moments, charged = [], []
    settings = GeneratorSettings()
    with progress("simulating calibration pions", n_events) as bar:
        for k in range(n_events):
            event = simulate_event("pions", settings, ("calo-sim calibration", k))
            moments.append(event.clusters.moments)
            charged.append(np.full(len(event.clusters.moments), event.shot.pdg[0] != 111))
            if k % 500 == 0:
                bar.update(k)
        bar.update(n_events)
    table = np.concatenate(moments)
    return {name: table[:, MOMENTS.index(name)] for name in _COLUMNS}, np.concatenate(charged)


def main() -> None:
    """Remake and store the tables."""
    parser = argparse.ArgumentParser(description="Remake the tables of the local calibration.")
    parser.add_argument("--events", type=int, default=N_EVENTS, help="single pions to simulate")
    content = fill_tables(*calibration_clusters(parser.parse_args().events))
    with atomic_path(TABLES) as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, **content)
    print(f"{TABLES}: {TABLES.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
