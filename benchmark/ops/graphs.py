"""Graphs over the points of a ragged batch: the k nearest of each point, or those within a radius.

Edges follow PyTorch Geometric: row 0 of `edge_index` is the source (the neighbour), row 1 the destination (the point
that receives). They are sorted by destination, then from near to far; equally far neighbours go by their coordinates
(x, then y, then z), so that the storage order of points only decides their numbers. No edge joins two
events, and none joins a point to itself: an event of one point has no edge. Points with equal coordinates are
neighbours at distance 0; only among them does the storage order break ties.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from benchmark.ops._jit import Bool, Float32, Int64, as_points
from benchmark.ops.neighbours import k_nearest, squared_radius


def knn_graph(coords: Tensor, offsets: Tensor, k: int) -> Tensor:
    """(2, E) int64 edges from each point's `k` nearest others in its own event, all of them where there are fewer.

    `coords` (N, 3) in any unit; event b owns rows offsets[b]:offsets[b + 1] of it, `offsets` (B + 1,). ValueError for
    k < 1, a coordinate that is not finite, or offsets that do not cover the points.
    """
    return _graph(coords, offsets, k, np.float32(np.inf))


def radius_graph(coords: Tensor, offsets: Tensor, radius: float, max_neighbours: int = 32) -> Tensor:
    """(2, E) int64 edges from the points strictly nearer than `radius`, at most the `max_neighbours` nearest of them.

    `radius` in the unit of `coords`; arguments and errors otherwise as in `knn_graph`. ValueError too for a radius that
    is not above 0.
    """
    return _graph(coords, offsets, max_neighbours, squared_radius(radius), "max_neighbours")


def edge_starts(edge_index: Tensor, n_points: int) -> Tensor:
    """(n_points + 1,) int64: the edges into point i are starts[i]:starts[i + 1] of edges sorted by destination."""
    starts = edge_index.new_zeros(n_points + 1)
    starts[1:] = torch.bincount(edge_index[1], minlength=n_points).cumsum(0)
    return starts


def canonical_order(points: Float32) -> Int64:
    """(n,) positions that sort the points (n, 3) by x, then y, then z; equal ones keep their order."""
    return np.lexsort((points[:, 2], points[:, 1], points[:, 0]))


def _graph(coords: Tensor, offsets: Tensor, k: int, limit: np.float32, name: str = "k") -> Tensor:
    if k < 1:
        raise ValueError(f"{name} is {k}. At least 1 neighbour was expected.")
    points = as_points(coords.detach().cpu().numpy())
    bounds = offsets.cpu().numpy()
    if (
        bounds.ndim != 1
        or not len(bounds)
        or bounds[0] != 0
        or bounds[-1] != len(points)
        or (np.diff(bounds) < 0).any()
    ):
        raise ValueError(f"offsets are {bounds.tolist()}. Numbers that rise from 0 to {len(points)} were expected.")
    parts = [_event_edges(points[a:b], k, limit) + a for a, b in pairwise(bounds) if b - a > 1]
    edges = np.concatenate(parts, axis=1) if parts else np.empty((2, 0), dtype=np.int64)
    return torch.from_numpy(edges).to(coords.device)


def _event_edges(points: Float32, k: int, limit: np.float32) -> Int64:
    """Edges of one event, (2, E). The search orders equally far neighbours by index in the sorted points."""
    n, order = len(points), canonical_order(points)
    sorted_points = points[order]
    neighbours, squares = k_nearest(sorted_points, sorted_points, min(k + 1, n))  # one of them is the point itself
    rank = np.empty(n, dtype=np.int64)
    rank[order] = np.arange(n)
    neighbours, squares = neighbours[rank], squares[rank]  # rows in the order of the points, numbers still sorted
    is_edge = _other_points(neighbours, rank) & (squares < limit)
    destination = np.repeat(np.arange(n), is_edge.sum(axis=1))
    return np.stack([order[neighbours[is_edge]], destination])


def _other_points(neighbours: Int64, point: Int64) -> Bool:
    """Where a row holds another point; a row that lacks its own point (many coincident points) drops the last."""
    is_other: Bool = neighbours != point[:, None]
    is_other[is_other.all(axis=1), -1] = False
    return is_other
