"""Fillings of hidden parts of a volume from its visible ones, without training: what a model has to beat.

Harmonic inpainting solves Laplace's equation in the hidden voxels, with the visible ones as boundary values: the
smoothest surface through the visible values. A model that is no better has learnt to interpolate.
"""

from __future__ import annotations

import numpy as np

from benchmark.ops._jit import Bool, Float64, Int64, kernel

TOLERANCE = 1e-4  # largest change in a sweep, relative to the spread of the visible values
RELAXATION = 1.85  # over-relaxation: holes are some tens of voxels wide
MAX_SWEEPS = 2000


def inpaint(volume: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """(Z, Y, X) float32 with the hidden voxels, (Z, Y, X) bool, such that each is the mean of its six neighbours.

    Neighbours outside the volume do not count (no flux through its faces). Solved by successive over-relaxation until
    no voxel moves by more than 1e-4 of the visible values' standard deviation. Without any visible voxel all are 0.
    """
    result = np.asarray(volume, dtype=np.float64).copy()
    visible = result[~hidden]
    if len(visible) == 0:
        return np.zeros(volume.shape, np.float32)
    if len(visible) < result.size:
        result[hidden] = visible.mean()
        z, y, x = np.nonzero(hidden)
        voxels = np.stack([z, y, x], axis=1).astype(np.int64)
        _over_relax(result, voxels, np.ascontiguousarray(hidden), TOLERANCE * max(float(visible.std()), 1e-12))
    filled: np.ndarray = result.astype(np.float32)
    return filled


@kernel
def _over_relax(values: Float64, voxels: Int64, hidden: Bool, tolerance: float) -> int:
    nz, ny, nx = values.shape
    for sweep in range(MAX_SWEEPS):
        largest = 0.0
        for i in range(voxels.shape[0]):
            z, y, x = voxels[i, 0], voxels[i, 1], voxels[i, 2]
            total, n = 0.0, 0
            if z > 0:
                total += values[z - 1, y, x]
                n += 1
            if z + 1 < nz:
                total += values[z + 1, y, x]
                n += 1
            if y > 0:
                total += values[z, y - 1, x]
                n += 1
            if y + 1 < ny:
                total += values[z, y + 1, x]
                n += 1
            if x > 0:
                total += values[z, y, x - 1]
                n += 1
            if x + 1 < nx:
                total += values[z, y, x + 1]
                n += 1
            step = RELAXATION * (total / n - values[z, y, x])
            values[z, y, x] += step
            largest = max(largest, abs(step))
        if largest < tolerance:
            return sweep + 1
    return MAX_SWEEPS


def blocks(volume: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """(Tz, Ty, Tx, V) the V voxels of each token of a volume (Z, Y, X) that a grid cuts into equal parts."""
    (a, b, c), (z, y, x) = grid, volume.shape
    cut = volume.reshape(a, z // a, b, y // b, c, x // c).transpose(0, 2, 4, 1, 3, 5)
    tokens: np.ndarray = cut.reshape(a, b, c, -1)
    return tokens


def unblocks(tokens: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The volume of `blocks`: tokens (Tz, Ty, Tx, V), or (Tz, Ty, Tx, 1) for constant ones."""
    grid = tokens.shape[:3]
    size = [n // g for n, g in zip(shape, grid, strict=True)]
    whole = np.broadcast_to(tokens, (*grid, size[0] * size[1] * size[2])).reshape(*grid, *size)
    volume: np.ndarray = whole.transpose(0, 3, 1, 4, 2, 5).reshape(shape)
    return volume


def global_mean(volume: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """(Z, Y, X) with hidden tokens (Tz, Ty, Tx) set to the mean of all visible voxels, 0 without any."""
    tokens = blocks(volume, hidden.shape)
    visible = tokens[~hidden]
    return _fill_tokens(volume, hidden, np.full(hidden.shape, visible.mean() if visible.size else 0.0))


def neighbour_mean(volume: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """(Z, Y, X) with each hidden token set to the mean of the visible tokens around it.

    Within one token in y and x; where none is visible, within two, and so on. 0 without any.
    """
    means = blocks(volume, hidden.shape).mean(axis=3)
    visible_means = np.where(hidden, 0.0, means)
    value, is_filled = np.zeros(hidden.shape), ~hidden
    for reach in range(1, max(hidden.shape) + 1):
        if is_filled.all():
            break
        total, count = _sum_around(visible_means, reach), _sum_around((~hidden).astype(float), reach)
        is_new = ~is_filled & (count > 0)
        value[is_new] = total[is_new] / count[is_new]
        is_filled |= is_new
    return _fill_tokens(volume, hidden, value)


def own_mean(volume: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """(Z, Y, X) with each hidden token set to its true mean, an oracle: `volume` is the true one."""
    return _fill_tokens(volume, hidden, blocks(volume, hidden.shape).mean(axis=3))


def _fill_tokens(volume: np.ndarray, hidden: np.ndarray, values: np.ndarray) -> np.ndarray:
    tokens = np.where(hidden[..., None], values[..., None], blocks(volume, hidden.shape))
    return unblocks(tokens, volume.shape).astype(np.float32)


def _sum_around(values: np.ndarray, reach: int) -> np.ndarray:
    """Sums of (Tz, Ty, Tx) values over squares of 2 reach + 1 tokens in y and x, by cumulated sums."""
    padded = np.pad(values, ((0, 0), (reach + 1, reach), (reach + 1, reach)))
    table, width = padded.cumsum(axis=1).cumsum(axis=2), 2 * reach + 1
    sums: np.ndarray = (
        table[:, width:, width:] - table[:, :-width, width:] - table[:, width:, :-width] + table[:, :-width, :-width]
    )
    return sums
