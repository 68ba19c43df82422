"""Preprocessing of a raw scan into the volume that is cut into tiles; every step is a setting and is logged.

The steps and their defaults follow "Learning 3D Structure in Irradiated Lithium Fluoride via Masked Autoencoders":
illuminated region, common z step, edges cut away, Gaussian blur, normalisation of each scan. One difference to its
public code: the blur works on floating-point numbers (on integers it returns integers, which drops fractions of a
count).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from benchmark.errors import DataError
from benchmark.ops.robust import median_and_sigma

from ._lif_labels import read_labels
from ._lif_stack import Stack, read_error
from ._lif_table import Row

ILLUMINATED = ("table", "auto", "none")
NORMALISATIONS = ("zscore", "robust", "none")
REGIONS = ("3d", "projection", "none")
SPLITTINGS = ("auto", "table", "scan", "block")
DARK_SHARE = 0.5  # from the darkest to the typical row: darker rows are not illuminated


@dataclass(frozen=True)
class Chain:
    """Preprocessing of scans. Raises ValueError for values outside their range."""

    # table: the limits of the table of scans | auto: rows as bright as the typical one | none: all of it
    illuminated: str = "table"
    z_step_um: float = 7.0  # finer slices are averaged to this distance; 0: off
    margin_um: tuple[float, float, float] = (15.0, 0.0, 15.0)  # z, y, x: cut away at both ends of the volume
    blur_voxels: tuple[float, float, float] = (2.0, 2.0, 2.0)  # z, y, x: standard deviations of the Gaussian blur
    # zscore: mean and standard deviation of the scan | robust: its median and 1.4826 MAD | none: counts
    normalisation: str = "zscore"
    tile: tuple[int, int, int] = (5, 250, 250)  # z, y, x voxels
    # which tiles are kept: those with candidate regions found in 3d | in the summed 2-D projection | none: all
    regions: str = "3d"
    min_regions: int = 1  # candidate regions of a tile that is kept; published: 2, by the projection
    # auto: the table's column `split`, or else by scan | table | scan | block: along y, with a tile between the sets
    split: str = "auto"
    val_share: float = 0.15  # of the scans, or of the rows of tiles, where the table has no split
    test_share: float = 0.25

    def __post_init__(self) -> None:
        choices = {"illuminated": ILLUMINATED, "normalisation": NORMALISATIONS, "regions": REGIONS, "split": SPLITTINGS}
        for name, valid in choices.items():
            value = getattr(self, name)
            if value not in valid:
                raise ValueError(f"{name}={value!r} is not known. One of {', '.join(valid)} was expected.")
        if not (math.isfinite(self.z_step_um) and self.z_step_um >= 0):
            raise ValueError(f"z_step_um={self.z_step_um} is out of range. A length from 0 um on was expected.")
        for name in ("margin_um", "blur_voxels"):
            three = getattr(self, name)
            if not all(math.isfinite(v) and v >= 0 for v in three):
                raise ValueError(f"{name}={three} is out of range. Three numbers from 0 on were expected.")
        if min(self.tile) < 1:
            raise ValueError(f"tile={self.tile} is out of range. Three numbers from 1 on were expected.")
        if self.min_regions < 1:
            raise ValueError(f"min_regions={self.min_regions} is out of range. At least 1 was expected.")
        if not (self.val_share > 0 and self.test_share > 0 and self.val_share + self.test_share < 1):
            raise ValueError(
                f"val_share={self.val_share} and test_share={self.test_share} are not possible. Two numbers above 0 "
                f"with a sum below 1 were expected."
            )


@dataclass(frozen=True)
class Step:
    """One step of the chain, and its result for a scan."""

    name: str
    shape: tuple[int, int, int]  # afterwards
    did: dict[str, Any]
    picture: np.ndarray | None = None  # (Y, X) the middle slice afterwards, if pictures were requested


@dataclass(frozen=True)
class Processed:
    """A scan after the chain."""

    volume: np.ndarray  # (Z, Y, X) float32
    labels: np.ndarray | None  # (Z, Y, X) int64, 0 outside all tracks
    voxel_um: tuple[float, float, float]
    steps: tuple[Step, ...]


def process(stack: Stack, row: Row, chain: Chain, labels: Stack | None = None, pictures: bool = False) -> Processed:
    """Apply the chain to a scan. labels: numbers of tracks, a stack of the same shape.

    Raises DataError, with the scan's name, for labels of another shape, cuts beyond the volume, slices that are
    constant or hold NaN, slices farther apart than `z_step_um`, and a scan that ends up smaller than a tile.
    """
    steps: list[Step] = []

    def note(name: str, **did: Any) -> None:
        picture = volume[len(volume) // 2].copy() if pictures else None
        steps.append(Step(name, volume.shape, did, picture))  # type: ignore[arg-type]

    if labels is not None and labels.shape != stack.shape:
        raise DataError(
            f"Scan {row.scan}: its labels {labels.path.name} have the shape {labels.shape}, its images {stack.shape}. "
            f"The same was expected. Correct the table of scans."
        )
    volume = _read_volume(stack, row)
    track_numbers = None if labels is None else read_labels(labels, row.scan)
    note("raw", file=stack.path.name, dtype=str(stack.dtype), voxel_um=list(row.voxel_um))
    lit_part = _illuminated_part(volume, row, chain)
    volume, track_numbers = volume[lit_part], None if track_numbers is None else track_numbers[lit_part]
    note("illuminated", by=chain.illuminated, limits=[[s.start, s.stop] for s in lit_part])
    _check_slices(volume, row, lit_part[0].start)
    volume, track_numbers, voxel_um = _resample_z(volume, track_numbers, row, chain)
    note("z step", z_um=voxel_um[0])
    margins = [round(m / v) for m, v in zip(chain.margin_um, voxel_um, strict=True)]
    inside = tuple(slice(m, n - m) for m, n in zip(margins, volume.shape, strict=True))
    _check_size(volume.shape, margins, row, chain)
    volume, track_numbers = volume[inside], None if track_numbers is None else track_numbers[inside]
    note("margins", voxels=margins)
    volume = gaussian_filter(volume, chain.blur_voxels, mode="nearest", output=np.float32)
    note("blur", voxels=list(chain.blur_voxels))
    level, spread = _level_and_spread(volume, row, chain)
    volume = (volume - np.float32(level)) / np.float32(spread)
    note("normalisation", by=chain.normalisation, level=level, spread=spread)
    return Processed(volume, track_numbers, voxel_um, tuple(steps))


def _read_volume(stack: Stack, row: Row) -> np.ndarray:
    try:
        volume = np.empty(stack.shape, np.float32)
    except MemoryError as error:
        raise read_error(stack.path, f"{math.prod(stack.shape):,} voxels of 4 bytes", error) from error
    for z in range(stack.shape[0]):
        volume[z] = stack[z : z + 1][0]
        if not np.isfinite(volume[z]).all():
            raise DataError(
                f"Scan {row.scan}: slice {z} holds {int((~np.isfinite(volume[z])).sum())} values that are not finite. "
                f"Numbers were expected. Cut the slice away (z_min, z_max in the table of scans), or repair the file."
            )
    return volume


def _illuminated_part(volume: np.ndarray, row: Row, chain: Chain) -> tuple[slice, slice, slice]:
    limits = row.limits(volume.shape)  # type: ignore[arg-type]
    if chain.illuminated == "table":
        return limits
    whole = limits[0], slice(0, volume.shape[1]), limits[2]
    if chain.illuminated == "none":
        return whole
    profile = volume.mean(axis=(0, 2))
    dark, typical = float(profile.min()), float(np.median(profile))
    lit = profile >= dark + DARK_SHARE * (typical - dark)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], lit, [False]]).astype(int)))
    runs = edges.reshape(-1, 2)  # first row and the one after the last of each run of lit rows
    begin, end = runs[np.argmax(runs[:, 1] - runs[:, 0])]
    return limits[0], slice(int(begin), int(end)), limits[2]


def _check_slices(volume: np.ndarray, row: Row, first: int) -> None:
    for z, image in enumerate(volume, start=first):
        if image.min() == image.max():
            raise DataError(
                f"Scan {row.scan}: slice {z} has the value {image.flat[0]:g} everywhere. An image was expected. Cut "
                f"the slice away (z_min, z_max in the table of scans), or repair the file."
            )


def _resample_z(
    volume: np.ndarray, track_numbers: np.ndarray | None, row: Row, chain: Chain
) -> tuple[np.ndarray, np.ndarray | None, tuple[float, float, float]]:
    """Slices at the common distance: weighted means of the old slices; labels of the middle slice."""
    ratio = chain.z_step_um / row.voxel_um[0]
    if not chain.z_step_um or abs(ratio - 1) < 1e-3:
        return volume, track_numbers, row.voxel_um
    if ratio < 1:
        raise DataError(
            f"Scan {row.scan}: its slices are {row.voxel_um[0]:g} um apart, and {chain.z_step_um:g} um were requested. "
            f"The distance of the coarsest scan was expected. Type --set data.z_step_um={row.voxel_um[0]:g}."
        )
    n_old = len(volume)
    n_new = int(n_old / ratio + 1e-6)
    if n_new < 1:
        raise _too_small(row, chain, (n_new, *volume.shape[1:]))
    edges = np.arange(n_old + 1)
    coarse = np.empty((n_new, *volume.shape[1:]), np.float32)
    for i in range(n_new):
        covered = np.clip(np.minimum(edges[1:], (i + 1) * ratio) - np.maximum(edges[:-1], i * ratio), 0, None)
        used = np.flatnonzero(covered)
        coarse[i] = np.tensordot((covered[used] / covered.sum()).astype(np.float32), volume[used], axes=1)
    middle = np.minimum(((np.arange(n_new) + 0.5) * ratio).astype(int), n_old - 1)
    _, y, x = row.voxel_um
    return coarse, None if track_numbers is None else track_numbers[middle], (chain.z_step_um, y, x)


def _check_size(shape: Sequence[int], margins: Sequence[int], row: Row, chain: Chain) -> None:
    remaining = tuple(n - 2 * m for n, m in zip(shape, margins, strict=True))
    if any(n < t for n, t in zip(remaining, chain.tile, strict=True)):
        raise _too_small(row, chain, remaining)


def _too_small(row: Row, chain: Chain, shape: Sequence[int]) -> DataError:
    return DataError(
        f"Scan {row.scan}: {' x '.join(str(max(0, n)) for n in shape)} voxels are left after the cuts. At least one "
        f"tile of {' x '.join(map(str, chain.tile))} was expected. Remove the scan, widen its cuts, or change --set "
        f"data.tile or data.margin_um."
    )


def _level_and_spread(volume: np.ndarray, row: Row, chain: Chain) -> tuple[float, float]:
    if chain.normalisation == "none":
        return 0.0, 1.0
    if chain.normalisation == "robust":
        level, spread = median_and_sigma(volume)
    else:
        level, spread = float(volume.mean(dtype=np.float64)), float(volume.std(dtype=np.float64))
    if not spread > 0:
        raise DataError(
            f"Scan {row.scan}: its values have no spread. An image was expected. Remove the scan, or type --set "
            f"data.normalisation=none."
        )
    return level, spread
