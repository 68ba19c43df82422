"""Digest of fixed scans: whether the simulation still makes the content of its revisions (`plan.CONTENT`)."""

from __future__ import annotations

import numpy as np

from benchmark.datasets._identity import content_digest

from .plan import Physics, Piece, Plan
from .scan import Scan, make_scan

SHAPE = (6, 320, 320)
BLOCK = 10  # voxels along y and x of the blocks whose means are compared
EVENTS_PER_MM3 = 40_000.0  # so that a small scan holds reactions of each kind
# Images are made in single precision: a voxel may round to the next count, so sums of many are compared, coarsely.
RESOLUTION = 1e-3


def digest() -> str:
    """Digest of the tracks of two small scans, and of the sums of their images."""
    plan = Plan(shape=SHAPE, seed=0, physics=Physics(events_per_mm3=EVENTS_PER_MM3))
    arrays = [entry for number in range(2) for entry in _arrays(number, make_scan(plan, Piece("digest", number)))]
    return content_digest(arrays, RESOLUTION)


def _arrays(number: int, scan: Scan) -> list[tuple[str, np.ndarray]]:
    image = scan.image.astype(np.float64)  # (Z, Y, X) counts
    owned = scan.instance > 0
    z, y, x = image.shape
    blocks = image.reshape(z, y // BLOCK, BLOCK, x // BLOCK, BLOCK).mean(axis=(2, 4))
    tracks = {name: np.array([row[name] for row in scan.tracks]) for name in sorted(scan.tracks[0])}
    whole = {"instance": tracks.pop("instance"), "lit": np.array(scan.lit)}
    words = {"_".join(str(v) for v in tracks.pop(name)): np.zeros(0) for name in ("reaction", "ion")}
    sums = {
        "mean": image.mean(axis=(1, 2)), "deviation": image.std(axis=(1, 2)), "noise": np.array([scan.noise]),
        "patterns": np.array([image.mean(axis=(0, 2)).std(), image.mean(axis=(0, 1)).std()]),
        "slow patterns": blocks.std(axis=(1, 2)), "brightest blocks": np.sort(blocks.reshape(z, -1), axis=1)[:, -9:],
        "owned": owned.sum(axis=(1, 2)).astype(np.float64), "light": (image * owned).sum(axis=(1, 2)),
    }  # fmt: skip
    named = {**whole, **words, **sums, **{name: column.astype(np.float64) for name, column in tracks.items()}}
    return [(f"scan {number} {name}", array) for name, array in named.items()]
