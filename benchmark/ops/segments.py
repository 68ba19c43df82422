"""Reductions over the points of each event of a ragged batch. Any device, with gradients; no padding."""

from __future__ import annotations

import torch
from torch import Tensor


def segment_max(values: Tensor, index: Tensor, n_segments: int) -> Tensor:
    """(S, C) maximum of `values` (N, C) over the points with the same `index` (N,); 0 for a segment without points.

    The gradient of equal maxima is shared evenly among them.
    """
    out = values.new_zeros((n_segments, values.shape[1]))
    return out.scatter_reduce(0, index[:, None].expand_as(values), values, "amax", include_self=False)


def segment_mean(values: Tensor, index: Tensor, n_segments: int) -> Tensor:
    """(S, C) mean of `values` (N, C) over the points with the same `index` (N,); 0 for a segment without points."""
    total = values.new_zeros((n_segments, values.shape[1])).index_add(0, index, values)
    count = torch.bincount(index, minlength=n_segments).clamp(min=1).to(values.dtype)
    return total / count[:, None]
