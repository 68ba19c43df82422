"""Harmonic inpainting as a layer: a few sweeps on grids of several resolutions, fast on a GPU and over a batch.

The solver of `benchmark.ops.harmonic` visits voxel after voxel. Here visible values are averaged over 2 x 2 pixels
until every pixel has some (push-pull: Gortler et al., The Lumigraph, 1996), and on the way back each grid is relaxed by
a few Jacobi sweeps of the hidden pixels. The number of sweeps does not depend on the values, so a volume's filling does
not depend on its batch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SWEEPS = 8  # per grid: the errors of the filling are a tenth above those of the exact one


@torch.no_grad()
def fill(volume: Tensor, hidden: Tensor, sweeps: int = SWEEPS) -> Tensor:
    """(B, Z, Y, X) with the hidden voxels, bool of the same shape, filled in smoothly; 0 without any visible one.

    Values of hidden voxels are not used. No gradient flows through the filling.
    """
    weight = (~hidden).to(volume.dtype)
    return torch.where(hidden, _push_pull(volume * weight, weight, sweeps), volume)


def _push_pull(value: Tensor, weight: Tensor, sweeps: int) -> Tensor:
    """(B, Z, Y, X) values of a grid, from its sums of visible values and their weights (at most 1)."""
    mean = value / weight.clamp(min=1e-6)
    if min(value.shape[2:]) <= 1:
        return torch.where(weight > 0, mean, torch.zeros_like(mean))
    halves = [functional.avg_pool2d(v, 2, ceil_mode=True, count_include_pad=False) for v in (value, weight)]
    coarse = _push_pull(halves[0], halves[1], sweeps)
    interpolated = functional.interpolate(coarse, size=value.shape[2:], mode="bilinear", align_corners=False)
    visible = weight > 0
    filled = torch.where(visible, mean, interpolated)
    for _ in range(sweeps):
        filled = torch.where(visible, mean, _neighbour_mean(filled))
    return filled


def _neighbour_mean(values: Tensor) -> Tensor:
    """Mean of the six neighbours, those outside the volume replaced by the voxel itself."""
    padded = functional.pad(values[:, None], (1, 1, 1, 1, 1, 1), mode="replicate")[:, 0]
    inner = slice(1, -1)
    total = padded[:, :-2, inner, inner] + padded[:, 2:, inner, inner]
    total = total + padded[:, inner, :-2, inner] + padded[:, inner, 2:, inner]
    return (total + padded[:, inner, inner, :-2] + padded[:, inner, inner, 2:]) / 6
