"""Touching particles: a graph over the particles of an event, with an edge where two voxels are the same or neighbours
(Chebyshev distance 1, Supera's TouchDistance).

The graph is built once. Merging particles later only joins nodes: a merged label touches whatever one of its members
touches.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmark.compiled import njit

from .voxels import STRIDE, ParticleVoxels

_FORWARD = np.array(
    [0]
    + [
        (dx * STRIDE + dy) * STRIDE + dz
        for dx in (-1, 0, 1)
        for dy in (-1, 0, 1)
        for dz in (-1, 0, 1)
        if (dx, dy, dz) > (0, 0, 0)
    ],
    dtype=np.int64,
)
"""Key distance to the voxel itself and to 13 of its 26 neighbours; the other 13 are covered from the other side."""


class VoxelIndex(NamedTuple):
    """The distinct voxels of an event and their particles. Voxel u owns rows starts[u]:starts[u + 1] of `entry`."""

    key: npt.NDArray[np.int64]  # (U,) ascending
    starts: npt.NDArray[np.int64]  # (U + 1,)
    entry: npt.NDArray[np.int64]  # (K,) rows of `ParticleVoxels`, sorted by voxel
    voxel: npt.NDArray[np.int64]  # (K,) index of the voxel of each row of `ParticleVoxels`


class Touching(NamedTuple):
    """Neighbours of particle p: neighbour[starts[p]:starts[p + 1]], ascending."""

    starts: npt.NDArray[np.int64]  # (P + 1,)
    neighbour: npt.NDArray[np.int64]  # (2 E,)


def index_voxels(voxels: ParticleVoxels) -> VoxelIndex:
    """Group the rows of all particles by voxel."""
    entry = np.argsort(voxels.key, kind="stable")
    return VoxelIndex(*_index(voxels.key, entry))


def touching_particles(voxels: ParticleVoxels, index: VoxelIndex) -> Touching:
    """The graph of touching particles."""
    n_particles = len(voxels.offsets) - 1
    pairs = np.unique(_pairs(index.key, index.starts, index.entry, voxels.particle, n_particles))
    a, b = pairs // max(n_particles, 1), pairs % max(n_particles, 1)
    both = np.sort(np.concatenate([pairs, b * n_particles + a]))
    starts = np.searchsorted(both, np.arange(n_particles + 1, dtype=np.int64) * n_particles)
    return Touching(starts.astype(np.int64), both % max(n_particles, 1))


@njit(cache=True)
def _index(key, entry):
    n = 0
    unique, starts = np.empty(len(key), np.int64), np.empty(len(key) + 1, np.int64)
    voxel = np.empty(len(key), np.int64)
    for i in range(len(entry)):
        k = key[entry[i]]
        if n == 0 or unique[n - 1] != k:
            unique[n], starts[n] = k, i
            n += 1
        voxel[entry[i]] = n - 1
    starts[n] = len(entry)
    return unique[:n].copy(), starts[: n + 1].copy(), entry, voxel


@njit(cache=True)
def _pairs(key, starts, entry, particle, n_particles):
    """Pairs p < q as p * P + q, with repetitions."""
    out = np.empty(max(1024, 4 * len(entry)), np.int64)
    n = 0
    for step in _FORWARD:
        b = 0
        for a in range(len(key)):
            target = key[a] + step
            while b < len(key) and key[b] < target:
                b += 1
            if b == len(key):
                break
            if key[b] != target:
                continue
            for i in range(starts[a], starts[a + 1]):
                for j in range(starts[b], starts[b + 1]):
                    p, q = np.int64(particle[entry[i]]), np.int64(particle[entry[j]])
                    if p == q:
                        continue
                    pair = min(p, q) * n_particles + max(p, q)
                    if n > 0 and out[n - 1] == pair:
                        continue
                    if n == len(out):
                        out = np.concatenate((out, np.empty_like(out)))
                    out[n] = pair
                    n += 1
    return out[:n]
