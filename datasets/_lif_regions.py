"""Candidate regions of a tile, found without labels by two methods.

`projection` is the published heuristic: the tile is summed along z, and connected groups of bright pixels are counted.
A signal in one slice is lost in the noise of the others, and tracks above each other merge.

`3d` works on voxels: a smooth background is subtracted, the residual is divided by the robust sigma of the tile, and
groups connected in 3-D count if they are large enough and have a bright peak (hysteresis).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy.ndimage import label, uniform_filter

from benchmark.ops.robust import median_and_sigma

PROJECTION_SIGMAS = 3.0  # standard deviations of the projection above its mean
BACKGROUND = 61  # y and x voxels of the box whose mean is the background
GROW_SIGMAS, SEED_SIGMAS = 3.5, 5.5  # threshold of a region's voxels, and of its peak
LEAST_VOXELS = 30  # of a region
TOUCHING = np.ones((3, 3, 3))  # voxels that share a corner are connected


def projection_regions(volume: np.ndarray) -> tuple[np.ndarray, int]:
    """(Z, Y, X) numbers of the regions, 0 outside, and how many: columns over bright pixels of the projection."""
    projection = volume.sum(axis=0)
    number, n = label(projection > projection.mean() + PROJECTION_SIGMAS * projection.std())
    return np.broadcast_to(number, volume.shape), int(n)


def regions_3d(volume: np.ndarray) -> tuple[np.ndarray, int]:
    """(Z, Y, X) numbers of the regions, 0 outside, and how many."""
    residual = volume - uniform_filter(volume.mean(axis=0), BACKGROUND, mode="reflect")
    median, sigma = median_and_sigma(residual)
    height = (residual - median) / max(sigma, 1e-6)
    number, n = label(height > GROW_SIGMAS, structure=TOUCHING)
    sizes = np.bincount(number.ravel(), minlength=n + 1)
    peaks = np.zeros(n + 1)
    inside = number > 0
    np.maximum.at(peaks, number[inside], height[inside])
    is_region = (sizes >= LEAST_VOXELS) & (peaks >= SEED_SIGMAS)
    is_region[0] = False
    return np.where(is_region, np.cumsum(is_region), 0)[number], int(is_region.sum())


METHODS: Mapping[str, Callable[[np.ndarray], tuple[np.ndarray, int]]] = {
    "projection": projection_regions,
    "3d": regions_3d,
}


def measure(volume: np.ndarray, truth: np.ndarray | None, least: int) -> dict[str, int]:
    """Number of regions by each method in a tile; with the truth (numbers of tracks), how many are correct.

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
            on_tracks = np.unique(number[truth > 0])
            result[f"pure_{name}"] = int((on_tracks > 0).sum())
            result[f"found_{name}"] = int(np.isin(tracks, np.unique(truth[number > 0])).sum())
        else:
            result[f"pure_{name}"] = result[f"found_{name}"] = 0
    return result
