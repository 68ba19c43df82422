"""From deposited energy to an image without noise: the point spread function of a light-sheet microscope.

Gaussian across the sheet's plane (the lens) and along z (the sheet), which is narrowest at its waist, halfway along the
light's path in x, and grows as sqrt(1 + (x / range)^2) away from it. A share of the light lies in a wide halo.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmark.compiled import njit

from .plan import Physics

REACH = 4.0  # standard deviations up to which an image is drawn


@dataclass(frozen=True)
class Optics:
    """Widths in voxels."""

    across: float  # in y and x
    along: float  # in z at the waist
    waist: float  # x voxel of it
    reach: float  # voxels from it at which the sheet is sqrt(2) times as wide

    @staticmethod
    def of(physics: Physics, shape: tuple[int, int, int], voxel_um: tuple[float, float, float]) -> Optics:
        """Those of a scan of this shape, the waist in its middle."""
        half = shape[2] / 2
        return Optics(
            physics.psf_um / voxel_um[1], physics.sheet_um / voxel_um[0], half,
            half / np.sqrt(physics.sheet_growth**2 - 1),
        )  # fmt: skip

    def width(self, x: np.ndarray) -> np.ndarray:
        """Standard deviations in z, in voxels, at these x voxels."""
        return self.along * np.sqrt(1 + ((x - self.waist) / self.reach) ** 2)


@dataclass(frozen=True)
class Box:
    """The image of one object, cropped: float32 values from a corner on, cut to the scan."""

    corner: tuple[int, int, int]
    values: np.ndarray

    @property
    def where(self) -> tuple[slice, slice, slice]:
        """Its slices in the scan."""
        a, b, c = (slice(o, o + n) for o, n in zip(self.corner, self.values.shape, strict=True))
        return a, b, c


def render(
    positions: np.ndarray, light: np.ndarray, optics: Optics, shape: tuple[int, int, int], blur: float = 0.0,
    widening: float = 1.0,
) -> Box | None:  # fmt: skip
    """The image of light (n,) at positions (n, 3), z, y and x in voxels; None outside a scan of this shape.

    blur: standard deviation in voxels, along each axis, of a smoothing after the microscope. widening: of the halo,
    over the point spread function. The sum of an image that lies inside is that of the light.
    """
    across = np.full(len(positions), np.hypot(optics.across * widening, blur))
    along = np.hypot(optics.width(positions[:, 2]) * widening, blur)
    reach = REACH * np.array([along.max(), across[0], across[0]])
    low = np.maximum(np.floor(positions.min(axis=0) - reach), 0).astype(np.int64)
    high = np.minimum(np.ceil(positions.max(axis=0) + reach) + 1, shape).astype(np.int64)
    if (high <= low).any():
        return None
    values = np.zeros(high - low, np.float32)
    _add(values, (positions - low).astype(np.float64), light.astype(np.float64), across, along)
    return Box((int(low[0]), int(low[1]), int(low[2])), values)


@njit(cache=True)
def _add(values, positions, light, across, along):  # type: ignore[no-untyped-def]
    nz, ny, nx = values.shape
    wz, wy, wx = np.empty(nz), np.empty(ny), np.empty(nx)
    root = np.sqrt(2 * np.pi)
    for i in range(positions.shape[0]):
        for n, weights, at, sigma in ((nz, wz, 0, along[i]), (ny, wy, 1, across[i]), (nx, wx, 2, across[i])):
            for k in range(n):
                distance = (k - positions[i, at]) / sigma
                weights[k] = np.exp(-0.5 * distance * distance) / (sigma * root)
        for z in range(nz):
            for y in range(ny):
                row = light[i] * wz[z] * wy[y]
                if row > 0:
                    for x in range(nx):
                        values[z, y, x] += row * wx[x]
