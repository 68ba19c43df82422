"""Neighbour searches within one event: all points in a ball, and the k nearest.

Both use a uniform grid, so their time grows about linearly with the points, and both return exactly what comparing
every pair in float32 returns: `d^2 < r^2` is strict, neighbours in a ball come in ascending index, and among
equidistant neighbours the lower index is nearer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from benchmark.ops._grid import frame_of, keys_of, lower_bound, runs_around, sort_by_cell
from benchmark.ops._jit import Float32, Int64, as_points, kernel

BRUTE_FORCE_BELOW = 64  # so few points are searched faster one by one than through a grid
MAX_RING = 4  # a lonely query with nothing so many cells around it compares all points instead


class Neighbours(NamedTuple):
    """Ragged neighbour lists: those of query i are `indices[offsets[i]:offsets[i + 1]]`."""

    offsets: Int64  # (n_queries + 1,)
    indices: Int64  # (total,)

    @property
    def counts(self) -> Int64:
        """Neighbours per query, (n_queries,)."""
        return np.diff(self.offsets)

    def padded(self, width: int, fill: int = -1) -> Int64:
        """The first `width` neighbours of each query, missing ones as `fill`, (n_queries, width)."""
        columns = np.arange(width)
        present = columns < self.counts[:, None]
        table = np.full(present.shape, fill, dtype=np.int64)
        table[present] = self.indices[(self.offsets[:-1, None] + columns)[present]]
        return table


def squared_radius(radius: float) -> np.float32:
    """The squared radius as single-precision code forms it: rounded first, then squared."""
    if not radius > 0:
        raise ValueError(f"radius is {radius}. A positive length was expected.")
    single = np.float32(radius)
    squared: np.float32 = single * single
    return squared


@kernel
def _ball(queries: Float32, points: Float32, radius: float, limit: np.float32, cap: int) -> tuple[Int64, Int64]:
    """Visits points in ascending index and hands each to the queries around it, so the lists need no sorting."""
    frame = frame_of(queries, points, radius)
    n_y, n_z = np.int64(frame[4]), np.int64(frame[5])
    query_keys = keys_of(queries, frame)
    order = np.argsort(query_keys, kind="mergesort")
    sorted_keys = query_keys[order]
    near = queries[order]
    keys = keys_of(points, frame)
    by_cell, first = sort_by_cell(keys)
    cell_of = np.empty(points.shape[0], dtype=np.int64)
    runs = np.empty((first.shape[0] - 1, 9, 2), dtype=np.int64)
    for cell in range(first.shape[0] - 1):
        runs[cell] = runs_around(keys[by_cell[first[cell]]], sorted_keys, n_y, n_z)
        for position in range(first[cell], first[cell + 1]):
            cell_of[by_cell[position]] = cell
    offsets = np.zeros(queries.shape[0] + 1, dtype=np.int64)
    filled = np.zeros(queries.shape[0], dtype=np.int64)
    indices = np.empty(0, dtype=np.int64)
    for fill in (False, True):
        if fill:
            for query in range(queries.shape[0]):
                offsets[query + 1] = offsets[query] + min(filled[query], cap)
            indices = np.empty(offsets[-1], dtype=np.int64)
            filled[:] = 0
        for i in range(points.shape[0]):
            for row in range(9):
                for position in range(runs[cell_of[i], row, 0], runs[cell_of[i], row, 1]):
                    dx = near[position, 0] - points[i, 0]
                    dy = near[position, 1] - points[i, 1]
                    dz = near[position, 2] - points[i, 2]
                    if dx * dx + dy * dy + dz * dz < limit:
                        query = order[position]
                        if fill and filled[query] < cap:
                            indices[offsets[query] + filled[query]] = i
                        filled[query] += 1
    return offsets, indices


def ball_query(queries: Float32, points: Float32, radius: float, max_neighbours: int | None = None) -> Neighbours:
    """Points strictly nearer than `radius` to each query, in ascending index.

    `queries` (m, 3) and `points` (n, 3) in the unit of `radius`. `max_neighbours` keeps the first so many by index,
    not by distance; None keeps all.
    """
    asked, among = as_points(queries, "queries"), as_points(points, "points")
    limit = squared_radius(radius)
    if max_neighbours is not None and max_neighbours < 1:
        raise ValueError(f"max_neighbours is {max_neighbours}. At least 1, or None for all, was expected.")
    if not len(asked) or not len(among):
        return Neighbours(np.zeros(len(asked) + 1, dtype=np.int64), np.empty(0, dtype=np.int64))
    cap = len(among) if max_neighbours is None else max_neighbours
    return Neighbours(*_ball(asked, among, float(np.float32(radius)), limit, cap))


@kernel
def _rank(rows: Int64, queries: Float32, near: Float32, order: Int64, best: Int64, nearest: Float32) -> None:
    """Fill the lists of the queries `rows` from the points `near`, whose indices are `order`, by insertion."""
    k = best.shape[1]
    for row in rows:
        best[row] = -1
        nearest[row] = np.float32(np.inf)
        x, y, z = queries[row, 0], queries[row, 1], queries[row, 2]
        worst = np.float32(np.inf)
        for position in range(near.shape[0]):
            dx, dy, dz = x - near[position, 0], y - near[position, 1], z - near[position, 2]
            distance = dx * dx + dy * dy + dz * dz
            if distance > worst:
                continue
            slot = k
            while slot > 0 and (
                distance < nearest[row, slot - 1]
                or (distance == nearest[row, slot - 1] and order[position] < best[row, slot - 1])
            ):
                slot -= 1
            if slot == k:
                continue
            for later in range(k - 1, slot, -1):
                best[row, later] = best[row, later - 1]
                nearest[row, later] = nearest[row, later - 1]
            best[row, slot] = order[position]
            nearest[row, slot] = distance
            worst = nearest[row, k - 1]


@kernel
def _cells_within(key: int, ring: int, sorted_keys: Int64, n_y: int, n_z: int) -> Int64:
    """Positions of the sorted points in the cells at most `ring` cells from cell `key` along each axis."""
    cx, cy, cz = key // n_z // n_y, key // n_z % n_y, key % n_z
    n_x = sorted_keys[-1] // n_z // n_y + 1
    found = np.empty(sorted_keys.shape[0], dtype=np.int64)
    n_found = 0
    for ix in range(max(cx - ring, 0), min(cx + ring + 1, n_x)):
        for iy in range(max(cy - ring, 0), min(cy + ring + 1, n_y)):
            base = (ix * n_y + iy) * n_z
            position = lower_bound(sorted_keys, base + max(cz - ring, 0))
            while position < sorted_keys.shape[0] and sorted_keys[position] <= base + min(cz + ring, n_z - 1):
                found[n_found] = position
                n_found += 1
                position += 1
    return found[:n_found]


@kernel
def _nearest_in_grid(queries: Float32, points: Float32, size: float, best: Int64, nearest: Float32) -> None:
    """The queries of one cell look together into ever wider rings of cells, until nothing nearer can lie beyond."""
    frame = frame_of(queries, points, size)
    n_y, n_z = np.int64(frame[4]), np.int64(frame[5])
    keys = keys_of(points, frame)
    order = np.argsort(keys, kind="mergesort")
    sorted_keys = keys[order]
    near = points[order]
    query_keys = keys_of(queries, frame)
    by_cell, first = sort_by_cell(query_keys)
    last = best.shape[1] - 1
    for cell in range(first.shape[0] - 1):
        pending = by_cell[first[cell] : first[cell + 1]]
        ring = 1
        while pending.shape[0] > 0 and ring <= MAX_RING:
            positions = _cells_within(query_keys[pending[0]], ring, sorted_keys, n_y, n_z)
            _rank(pending, queries, near[positions], order[positions], best, nearest)
            # What lies beyond is at least `ring` cells away; the margin outweighs float32 rounding.
            reach = np.float32(ring * frame[3] * (1.0 - 1e-4))
            undecided = np.empty(pending.shape[0], dtype=np.bool_)
            for i in range(pending.shape[0]):
                undecided[i] = not nearest[pending[i], last] < reach * reach
            pending = pending[undecided]
            ring *= 2
        _rank(pending, queries, near, order, best, nearest)


def k_nearest(queries: Float32, points: Float32, k: int) -> tuple[Int64, Float32]:
    """The `k` nearest points of each query: indices (m, k) and squared distances (m, k), nearest first.

    Equidistant points are ordered by index. Where fewer than `k` points exist, the rest is -1 and infinity.
    """
    asked, among = as_points(queries, "queries"), as_points(points, "points")
    if k < 1:
        raise ValueError(f"k is {k}. At least 1 neighbour was expected.")
    best = np.full((len(asked), k), -1, dtype=np.int64)
    nearest = np.full((len(asked), k), np.inf, dtype=np.float32)
    if not len(asked) or not len(among):
        return best, nearest
    extent = float((among.max(0) - among.min(0)).max())
    if len(among) < max(BRUTE_FORCE_BELOW, 4 * k) or extent == 0:
        _rank(np.arange(len(asked)), asked, among, np.arange(len(among)), best, nearest)
    else:
        _nearest_in_grid(asked, among, _cell_for(among, k), best, nearest)
    return best, nearest


def _cell_for(points: Float32, k: int) -> float:
    """A cell size that makes the wanted neighbours likely to lie in the first two rings, for points along lines."""
    probe = points[:: max(1, len(points) // 32)]
    squared = ((probe[:, None, :] - points[None, :, :]) ** 2).sum(-1)
    typical = float(np.sqrt(np.median(np.partition(squared, k, axis=1)[:, k])))
    return max(typical, float(np.ptp(points, axis=0).max()) / 512)
