"""Energy deposits to voxels of each particle, on the grid of PILArNet-M: 768^3 voxels of 3 mm.

Supera's rule: a deposit is cut into pieces of at most 0.3 mm, the energy of a piece belongs to the voxel that holds its
midpoint, and voxels in which one particle deposits less than a threshold are dropped before particles are summed.
Ionisation electrons follow the modified box model of recombination (ArgoNeuT, JINST 8 P08005): R = ln(alpha + x) / x
with x = beta (dE/dx) / (rho E).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmark.compiled import njit

from .truth import HALF_BOX_MM, EventTruth

GRID = 768  # voxels along each axis
PITCH_MM = 3.0
STRIDE = GRID + 2  # a margin of one voxel each side: neighbours of a key are at fixed distances and never wrap


@dataclass(frozen=True)
class VoxelSettings:
    """How deposits become voxels."""

    piece_mm: float = 0.3  # longest piece of a deposit that goes into one voxel whole
    threshold_mev: float = 0.01  # voxels of one particle below this are dropped
    field_kv_per_cm: float = 0.5  # drift field
    density_g_cm3: float = 1.396
    box_alpha: float = 0.93  # modified box model
    box_beta: float = 0.212  # (kV/cm)(g/cm2)/MeV
    work_function_ev: float = 23.6  # per ion pair


class ParticleVoxels(NamedTuple):
    """Voxels of every particle, K rows sorted by particle, then key. Particle p owns offsets[p]:offsets[p + 1]."""

    particle: npt.NDArray[np.int32]  # (K,)
    key: npt.NDArray[np.int64]  # (K,) see `voxel_key`
    energy: npt.NDArray[np.float64]  # (K,) MeV
    time: npt.NDArray[np.float64]  # (K,) ns, earliest deposit
    electrons: npt.NDArray[np.float64]  # (K,) after recombination
    length: npt.NDArray[np.float64]  # (K,) cm, path inside the voxel
    offsets: npt.NDArray[np.int64]  # (P + 1,)


def voxel_key(x: Any, y: Any, z: Any) -> Any:
    """One integer per voxel, ordered by x, then y, then z; a neighbour's key differs by a constant."""
    return ((x + 1) * STRIDE + (y + 1)) * STRIDE + (z + 1)


def key_to_voxel(key: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(K, 3) voxel indices 0..767 of (K,) keys."""
    return np.stack([key // (STRIDE * STRIDE) - 1, key // STRIDE % STRIDE - 1, key % STRIDE - 1], axis=1)


def voxelise(
    truth: EventTruth,
    settings: VoxelSettings = VoxelSettings(),
    owners: npt.NDArray[np.int64] | None = None,
) -> ParticleVoxels:
    """Voxels of each particle above the threshold.

    owners (P,): the particle that the deposits of each particle are counted for, -1 to drop them; None for itself.
    """
    deposits = truth.deposits
    if owners is None:
        owners = np.arange(len(truth.particles))
    n_pieces = int(_count_pieces(deposits, settings.piece_mm))
    recombination = (
        settings.box_alpha,
        settings.box_beta / (settings.density_g_cm3 * settings.field_kv_per_cm),  # cm/MeV
        1e6 / settings.work_function_ev,
    )
    runs = _runs(deposits, owners, n_pieces, settings.piece_mm, *recombination)
    order = np.argsort(runs[0], kind="stable")  # (particle, key) together; stable, so sums are the same everywhere
    return _collect(*(column[order] for column in runs), len(truth.particles), settings.threshold_mev)


@njit(cache=True)
def _length(d):
    return math.sqrt((d.x1 - d.x0) ** 2 + (d.y1 - d.y0) ** 2 + (d.z1 - d.z0) ** 2)


@njit(cache=True)
def _count_pieces(deposits, piece_mm):
    total = 0
    for i in range(len(deposits)):
        total += max(1, math.ceil(_length(deposits[i]) / piece_mm))
    return total


@njit(cache=True)
def _runs(deposits, owners, capacity, piece_mm, alpha, beta, quanta_per_mev):
    """Sums over consecutive pieces of one particle in one voxel: key, the particle in its high bits, and sums."""
    key = np.empty(capacity, np.int64)
    energy, time, electrons, length = np.zeros(capacity), np.empty(capacity), np.zeros(capacity), np.zeros(capacity)
    n, last = 0, np.int64(-1)
    for i in range(len(deposits)):
        d = deposits[i]
        owner = owners[d.particle]
        if owner < 0:
            continue
        path = _length(d)
        pieces = max(1, math.ceil(path / piece_mm))
        de = d.de / pieces
        dx = path / pieces * 0.1  # cm
        # A deposit at a point has no dE/dx; the shortest length only keeps the ratio finite (R -> 0.13).
        x = beta * d.de / max(path * 0.1, d.de / 75.0, 1e-9)
        n_e = de * quanta_per_mev * math.log(alpha + x) / x if x > 0.1 else de * quanta_per_mev * 0.9
        for j in range(pieces):
            f = (j + 0.5) / pieces
            ix = math.floor((d.x0 + f * (d.x1 - d.x0) + HALF_BOX_MM) / PITCH_MM)
            iy = math.floor((d.y0 + f * (d.y1 - d.y0) + HALF_BOX_MM) / PITCH_MM)
            iz = math.floor((d.z0 + f * (d.z1 - d.z0) + HALF_BOX_MM) / PITCH_MM)
            if min(ix, iy, iz) < 0 or max(ix, iy, iz) >= GRID:
                continue
            k = (owner << 30) | (((ix + 1) * STRIDE + iy + 1) * STRIDE + iz + 1)
            if k != last:
                key[n], time[n], last = k, d.t, k
                n += 1
            energy[n - 1] += de
            time[n - 1] = min(time[n - 1], d.t)
            electrons[n - 1] += n_e
            length[n - 1] += dx
    return key[:n], energy[:n], time[:n], electrons[:n], length[:n]


@njit(cache=True)
def _collect(key, energy, time, electrons, length, n_particles, threshold):
    """Add up runs of equal key (sorted), apply the threshold, and index by particle."""
    n = 0
    i = 0
    while i < len(key):
        k, e, t, q, s = key[i], energy[i], time[i], electrons[i], length[i]
        i += 1
        while i < len(key) and key[i] == k:
            e, t, q, s = e + energy[i], min(t, time[i]), q + electrons[i], s + length[i]
            i += 1
        if e >= threshold:
            key[n], energy[n], time[n], electrons[n], length[n] = k, e, t, q, s
            n += 1
    particle = (key[:n] >> 30).astype(np.int32)
    offsets = np.zeros(n_particles + 1, np.int64)
    for i in range(n):
        offsets[particle[i] + 1] += 1
    return ParticleVoxels(
        particle,
        key[:n] & ((1 << 30) - 1),
        energy[:n].copy(),
        time[:n].copy(),
        electrons[:n].copy(),
        length[:n].copy(),
        np.cumsum(offsets),
    )
