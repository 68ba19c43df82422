"""Pictures of tiles, shared by the studies of models on volumes.

A tile is drawn as its maximum projection along z; all panels of a tile share one grey scale, from its median to its
brightest voxel.
"""

from __future__ import annotations

from typing import Any

import numpy as np

TRUTH = "#d1495b"  # outlines of tracks
HIDDEN = (0.19, 0.39, 0.56)  # colour of hidden tokens
NAME = 24  # letters of a name in a panel's title
TOP = 99.95  # percentile of a tile's values drawn black


def from_above(volume: np.ndarray) -> np.ndarray:
    """(Y, X) the brightest voxel of each column of a volume (Z, Y, X)."""
    highest: np.ndarray = volume.max(axis=0)
    return highest


def shades(volume: np.ndarray) -> tuple[float, float]:
    """Values of a tile drawn white and black."""
    projection = from_above(volume)
    low, high = float(np.median(projection)), float(np.percentile(projection, TOP))
    return low - 0.5 * (high - low) * 0.2, max(high, low + 1e-6)


def draw_tile(axis: Any, volume: np.ndarray, ends: tuple[float, float], title: str = "") -> None:
    """One tile in grey, y upwards and x, along the light, to the right."""
    axis.imshow(from_above(volume), cmap="Greys", vmin=ends[0], vmax=ends[1], origin="lower", interpolation="nearest")
    bare(axis, title)


def cover(axis: Any, hidden: np.ndarray, shape: tuple[int, ...]) -> None:
    """Hidden tokens (Tz, Ty, Tx) as coloured squares over a drawn tile of `shape`."""
    squares = hidden.any(axis=0)
    image = np.zeros((*squares.shape, 4))
    image[squares] = (*HIDDEN, 1.0)
    axis.imshow(image, origin="lower", interpolation="nearest", extent=_extent(shape))


def overlay(axis: Any, values: np.ndarray, shape: tuple[int, ...], **style: Any) -> Any:
    """Values or colours of tokens (Ty, Tx[, 3]) over the area of a tile of `shape`; returns the image."""
    return axis.imshow(values, origin="lower", interpolation="nearest", extent=_extent(shape), **style)


def outline(axis: Any, track: np.ndarray) -> None:
    """Outlines of the true tracks of a tile (Z, Y, X), where there are any."""
    projection = track.max(axis=0) > 0
    if projection.any():
        axis.contour(projection, levels=[0.5], colors=[TRUTH], linewidths=0.8)


def bare(axis: Any, title: str = "") -> None:
    """A panel without ticks."""
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=9)


def _extent(shape: tuple[int, ...]) -> tuple[float, float, float, float]:
    return (-0.5, shape[2] - 0.5, -0.5, shape[1] - 0.5)
