"""Candidate regions of a tile: where a track may be, found without any labels. Two ways.

`projection` is the published heuristic: the tile is summed along z, and connected groups of bright pixels are counted.
What happens to be bright in one slice drowns in the noise of the others, and two tracks above each other are one.

`3d` looks at voxels: a smooth background is subtracted, the rest is measured in robust sigmas of the tile, and groups
that are connected in three dimensions count where they are large enough and somewhere clearly bright (hysteresis).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy.ndimage import label, uniform_filter

from benchmark.ops.robust import median_and_sigma

PROJECTION_SIGMAS = 3.0  # standard deviations of the projection above its mean
BACKGROUND = 61  # y and x voxels of the box whose mean is the background
GROW_SIGMAS, SEED_SIGMAS = 3.5, 5.5  # of a region's voxels, and of its brightest
LEAST_VOXELS = 30  # of a region
TOUCHING = np.ones((3, 3, 3))  # voxels that share a corner belong together


def projection_regions(volume: np.ndarray) -> tuple[np.ndarray, int]:
    """(Z, Y, X) numbers of the regions, 0 outside, and how many: columns over bright pixels of the projection."""
    seen = volume.sum(axis=0)
    number, n = label(seen > seen.mean() + PROJECTION_SIGMAS * seen.std())
    return np.broadcast_to(number, volume.shape), int(n)


def regions_3d(volume: np.ndarray) -> tuple[np.ndarray, int]:
    """(Z, Y, X) numbers of the regions, 0 outside, and how many."""
    rest = volume - uniform_filter(volume.mean(axis=0), BACKGROUND, mode="reflect")
    median, sigma = median_and_sigma(rest)
    height = (rest - median) / max(sigma, 1e-6)
    number, n = label(height > GROW_SIGMAS, structure=TOUCHING)
    sizes = np.bincount(number.ravel(), minlength=n + 1)
    peaks = np.zeros(n + 1)
    inside = number > 0
    np.maximum.at(peaks, number[inside], height[inside])
    kept = (sizes >= LEAST_VOXELS) & (peaks >= SEED_SIGMAS)
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0)[number], int(kept.sum())


METHODS: Mapping[str, Callable[[np.ndarray], tuple[np.ndarray, int]]] = {
    "projection": projection_regions,
    "3d": regions_3d,
}


def measure(volume: np.ndarray, truth: np.ndarray | None, least: int) -> dict[str, int]:
    """How many regions each method finds in a tile; with the truth (numbers of tracks), how many are right.

    pure_*: regions with a voxel of a true track; found_*: true tracks, of at least `least` voxels, with a voxel in a
    region.
    """
    result: dict[str, int] = {}
    sizes = np.bincount(truth.ravel()) if truth is not None else np.zeros(1)
    tracks = np.flatnonzero(sizes >= least)
    tracks = tracks[tracks > 0]
    result["n_tracks"] = len(tracks)
    for name, method in METHODS.items():
        number, n = method(volume)
        result[f"regions_{name}"] = n
        if truth is not None:
            right = np.unique(number[truth > 0])
            result[f"pure_{name}"] = int((right > 0).sum())
            result[f"found_{name}"] = int(np.isin(tracks, np.unique(truth[number > 0])).sum())
        else:
            result[f"pure_{name}"] = result[f"found_{name}"] = 0
    return result
