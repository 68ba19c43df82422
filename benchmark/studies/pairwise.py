"""Grouping on a CPU by all pairwise distances in torch: the baseline that the native engine is timed against.

Like the public code without a GPU, it computes the distance of every pair of points. It rounds like the native engine,
so the indices are equal. The greedy pass of C-NMS is compiled in both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from benchmark.ops._jit import Bool, Float32, Int64
from benchmark.ops.engine import Engine
from benchmark.ops.native import as_lists
from benchmark.ops.neighbours import Neighbours, squared_radius


class Pairwise(Engine):
    """All pairs of points, event by event; farthest points are sampled in one padded batch."""

    name = "pairwise torch"

    def farthest(self, events: Sequence[Float32], n_select: int) -> list[Int64]:
        """See Engine."""
        if not events:
            return []
        chosen = _farthest(events, n_select)
        return [row[: min(n_select, len(points))] for row, points in zip(chosen, events, strict=True)]

    def balls(
        self, queries: Sequence[Float32], events: Sequence[Float32], radius: float, cap: int | None
    ) -> list[Neighbours]:
        """See Engine."""
        return [_ball(q, points, squared_radius(radius), cap) for q, points in zip(queries, events, strict=True)]

    def nearest(self, queries: Sequence[Float32], events: Sequence[Float32], k: int) -> list[Neighbours]:
        """See Engine."""
        return [_nearest(q, points, min(k, len(points))) for q, points in zip(queries, events, strict=True)]

    def thinned(
        self, events: Sequence[Float32], groups: Sequence[Neighbours], n_points: int
    ) -> list[tuple[Int64, Bool]]:
        """See Engine. The balls of one event are one padded batch."""
        return [_thinned(points, lists, n_points) for points, lists in zip(events, groups, strict=True)]


def _squared(queries: Float32, points: Float32) -> Tensor:
    """(m, n) squared distances, summed in the order x, y, z."""
    a, b = torch.from_numpy(queries), torch.from_numpy(points)
    total = torch.zeros(len(a), len(b))
    for axis in range(3):
        difference = a[:, None, axis] - b[None, :, axis]
        total += difference * difference
    return total


def _ball(queries: Float32, points: Float32, limit: np.float32, cap: int | None) -> Neighbours:
    near = _squared(queries, points) < float(limit)
    if cap is not None:
        near &= near.cumsum(1) <= cap
    offsets = np.concatenate([[0], near.sum(1).cumsum(0).numpy()])
    return Neighbours(offsets, torch.nonzero(near)[:, 1].numpy())


def _nearest(queries: Float32, points: Float32, k: int) -> Neighbours:
    """Distance and index as one integer: without it torch would have to sort every row to order equal distances."""
    bits = _squared(queries, points).view(torch.int32).to(torch.int64)
    keys = (bits << 32) | torch.arange(len(points))
    best = torch.topk(keys, k, dim=1, largest=False, sorted=True).values
    return as_lists((best & 0xFFFFFFFF).numpy())


def _farthest(clouds: Sequence[Float32], n_select: int) -> Int64:
    """(B, n_select) farthest points of each cloud from its first one; entries beyond a cloud's size are undefined."""
    lengths = torch.tensor([len(points) for points in clouds])
    padded = torch.zeros(len(clouds), max(int(lengths.max()), 1), 3)
    for row, points in zip(padded, clouds, strict=True):
        row[: len(points)] = torch.from_numpy(points)
    outside = torch.arange(padded.shape[1]) >= lengths[:, None]
    nearest = torch.full(padded.shape[:2], torch.inf).masked_fill_(outside, -1.0)  # padding is never the farthest
    rows = torch.arange(len(clouds))
    last = torch.zeros(len(clouds), dtype=torch.int64)
    chosen = torch.empty(len(clouds), n_select, dtype=torch.int64)
    for slot in range(n_select):
        chosen[:, slot] = last
        difference = padded - padded[rows, last][:, None]
        squares = difference * difference
        nearest = torch.minimum(nearest, squares[..., 0] + squares[..., 1] + squares[..., 2])
        last = nearest.argmax(1)
    return chosen.numpy()


def _thinned(points: Float32, groups: Neighbours, n_points: int) -> tuple[Int64, Bool]:
    if not len(groups.counts):
        return np.full((0, n_points), -1, np.int64), np.zeros((0, n_points), np.bool_)
    balls = [groups.indices[a:b] for a, b in zip(groups.offsets, groups.offsets[1:], strict=False)]
    chosen = _farthest([points[ball] for ball in balls], n_points)
    mask = np.arange(n_points) < groups.counts[:, None]
    padded = groups.padded(max(int(groups.counts.max()), 1))
    indices = np.take_along_axis(padded, np.where(mask, chosen, 0), axis=1)  # empty slots repeat the first member
    return indices, mask
