"""Camera images without reactions: an uneven background, and noise. All in counts; z, y, x."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d, zoom

from .plan import Physics

CLOUD = 10  # voxels of a cell of the slow patches
SATURATION = 65535
DARK_ROWS = (20, 60)  # range of unlit rows at each end in y, in a scan of 1,120
_FULL = 1120


@dataclass(frozen=True)
class Background:
    """The pattern of one scan, the same in all slices apart from a small drift."""

    level: float
    image: np.ndarray  # (Y, X) float32 counts about the level, in a lit slice
    drift: np.ndarray  # (Z,) counts of each slice
    lit: tuple[int, int]  # rows that the sheet lights, half-open
    hot: np.ndarray  # (n, 3) y, x, counts of hot pixels


def draw_background(
    physics: Physics, shape: tuple[int, int, int], voxel_um: tuple[float, float, float], rng: np.random.Generator
) -> Background:
    """The pattern of a scan: gradient along the light, stripes, periodic patterns, dust, dark rows, hot pixels."""
    nz, ny, nx = shape
    y, x = np.arange(ny, dtype=np.float32), np.arange(nx, dtype=np.float32)
    level = physics.background * rng.lognormal(0, 0.2)
    along = x / nx - 0.5
    bend = rng.normal(1, 0.3) * along + rng.normal(0, 0.6) * (along**2 - 1 / 12)
    image = np.tile((-physics.gradient * bend).astype(np.float32), (ny, 1))
    image += _stripes(physics, ny, nx, voxel_um, rng)
    for _ in range(rng.integers(3, 6)):
        period = np.exp(rng.uniform(np.log(4.0), np.log(50.0))) / voxel_um[1]  # voxels, from 4 to 50 um
        angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
        waves = 2 * np.pi / period * (np.cos(angle) * x[None] + np.sin(angle) * y[:, None])
        image += np.float32(physics.periodic * rng.uniform(0.5, 1)) * np.sin(waves + phase, dtype=np.float32)
    for _ in range(rng.poisson(physics.dust)):
        _dust(image, rng)
    rows = [round(rng.uniform(*DARK_ROWS) * ny / _FULL) for _ in range(2)]
    n_hot = rng.poisson(physics.hot_pixels)
    hot = np.stack([rng.integers(0, ny, n_hot), rng.integers(0, nx, n_hot), rng.integers(80, 500, n_hot)], axis=1)
    return Background(level, image, rng.normal(0, 0.3, nz).astype(np.float32), (rows[0], ny - rows[1]), hot)


def _stripes(
    physics: Physics, ny: int, nx: int, voxel_um: tuple[float, float, float], rng: np.random.Generator
) -> np.ndarray:
    """(Y, X) shadows along the light: each row's own, over widths from 8 to 50 um, slowly changing along x."""
    total = np.zeros((ny, nx), np.float32)
    for width_um in (8.0, 15.0, 40.0):
        rows = gaussian_filter1d(rng.normal(size=(ny, 4)), width_um / voxel_um[1] / 4, axis=0, mode="wrap")
        rows /= rows.std()
        total += zoom(rows, (1, nx / 4), order=1, grid_mode=True, mode="nearest").astype(np.float32)
    return np.float32(physics.stripes / np.sqrt(3)) * total


def _dust(image: np.ndarray, rng: np.random.Generator) -> None:
    """A bright speck that casts a shadow along x."""
    ny, nx = image.shape
    y0, x0 = rng.uniform(0, ny), rng.uniform(0, nx)
    width = rng.uniform(6, 20)
    y, x = np.arange(ny)[:, None], np.arange(nx)[None]
    across = np.exp(-0.5 * ((y - y0) / width) ** 2)
    image -= (rng.uniform(0.3, 1.0) * across * np.where(x > x0, np.exp(-(x - x0) / (0.5 * nx)), 0)).astype(np.float32)
    image += (rng.uniform(0.5, 2.0) * across * np.exp(-0.5 * ((x - x0) / width) ** 2)).astype(np.float32)


def expose(
    physics: Physics, background: Background, z: int, signal: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(Y, X) uint16 camera image of one slice, from the expected signal (Y, X) in counts.

    Shot noise has the variance of the light; at hundreds of counts it is drawn from a normal distribution.
    """
    ny, nx = signal.shape
    cells = rng.normal(size=(ny // CLOUD + 2, nx // CLOUD + 2))
    cloud = zoom(cells, CLOUD, order=1, grid_mode=True, mode="nearest")[:ny, :nx].astype(np.float32)
    expected = background.level + background.drift[z] + background.image + signal
    expected += np.float32(physics.cloud / 0.67) * cloud  # linear interpolation leaves 0.67 of the deviation
    begin, end = background.lit
    expected[:begin] *= np.float32(0.02)  # scattered light
    expected[end:] *= np.float32(0.02)
    spread = np.sqrt(np.maximum(expected, 0) + np.float32(physics.read_noise**2))
    counts = expected + spread * rng.standard_normal(signal.shape, dtype=np.float32)
    for y, x, value in background.hot:
        counts[y, x] += value
    whole: np.ndarray = np.clip(np.rint(counts + physics.offset), 0, SATURATION).astype(np.uint16)
    return whole
