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
MAX_RINGS = 6  # beyond this many rings of cells a lonely query compares all points instead


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
def _offer(index: int, distance: np.float32, best: Int64, nearest: Float32) -> None:
    """Insert a candidate into one query's ascending list; equal distances are ordered by index."""
    slot = best.shape[0]
    while slot > 0 and (distance < nearest[slot - 1] or (distance == nearest[slot - 1] and index < best[slot - 1])):
        slot -= 1
    for later in range(best.shape[0] - 1, slot, -1):
        best[later] = best[later - 1]
        nearest[later] = nearest[later - 1]
    if slot < best.shape[0]:
        best[slot] = index
        nearest[slot] = distance


@kernel
def _nearest_of_all(query: Float32, points: Float32, best: Int64, nearest: Float32) -> None:
    last = best.shape[0] - 1
    for i in range(points.shape[0]):
        dx, dy, dz = query[0] - points[i, 0], query[1] - points[i, 1], query[2] - points[i, 2]
        distance = dx * dx + dy * dy + dz * dz
        if distance < nearest[last]:  # ascending i: an equal distance later cannot displace an earlier index
            _offer(i, distance, best, nearest)


@kernel
def _nearest_all(queries: Float32, points: Float32, best: Int64, nearest: Float32) -> None:
    for query in range(queries.shape[0]):
        _nearest_of_all(queries[query], points, best[query], nearest[query])


@kernel
def _scan_cells(
    query: Float32,
    points: Float32,
    order: Int64,
    sorted_keys: Int64,
    low: int,
    high: int,
    best: Int64,
    nearest: Float32,
) -> None:
    """Offer the points of the cells with keys low..high to one query."""
    last = best.shape[0] - 1
    position = lower_bound(sorted_keys, low)
    while position < order.shape[0] and sorted_keys[position] <= high:
        i = order[position]
        dx, dy, dz = query[0] - points[i, 0], query[1] - points[i, 1], query[2] - points[i, 2]
        distance = dx * dx + dy * dy + dz * dz
        if distance <= nearest[last]:
            _offer(i, distance, best, nearest)
        position += 1


@kernel
def _nearest_in_grid(queries: Float32, points: Float32, size: float, best: Int64, nearest: Float32) -> None:
    """Rings of cells around each query, outwards, until nothing nearer can lie beyond."""
    frame = frame_of(queries, points, size)
    n_y, n_z = np.int64(frame[4]), np.int64(frame[5])
    keys = keys_of(points, frame)
    order = np.argsort(keys, kind="mergesort")
    sorted_keys = keys[order]
    query_keys = keys_of(queries, frame)
    n_x = sorted_keys[-1] // (n_y * n_z) + 1
    last = best.shape[1] - 1
    for query in range(queries.shape[0]):
        target, found, found_at = queries[query], best[query], nearest[query]
        row, cz = query_keys[query] // n_z, query_keys[query] % n_z
        cx, cy = row // n_y, row % n_y
        done = False
        ring = 0
        while not done and ring <= MAX_RINGS:
            bottom, top = max(cz - ring, 0), min(cz + ring, n_z - 1)
            for ix in range(max(cx - ring, 0), min(cx + ring + 1, n_x)):
                for iy in range(max(cy - ring, 0), min(cy + ring + 1, n_y)):
                    base = (ix * n_y + iy) * n_z
                    whole = abs(ix - cx) == ring or abs(iy - cy) == ring
                    if whole:
                        _scan_cells(target, points, order, sorted_keys, base + bottom, base + top, found, found_at)
                    else:  # inside the ring only its two caps are new
                        for iz in (cz - ring, cz + ring):
                            if 0 <= iz < n_z:
                                _scan_cells(target, points, order, sorted_keys, base + iz, base + iz, found, found_at)
            # What lies beyond this ring is at least `ring` cells away; the margin outweighs float32 rounding.
            reach = ring * frame[3] * (1.0 - 1e-4)
            done = found[last] >= 0 and np.float64(found_at[last]) < reach * reach
            ring += 1
        if not done:
            found[:] = -1
            found_at[:] = np.float32(np.inf)
            _nearest_of_all(target, points, found, found_at)


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
        _nearest_all(asked, among, best, nearest)
    else:
        _nearest_in_grid(asked, among, _cell_for(among, k), best, nearest)
    return best, nearest


def _cell_for(points: Float32, k: int) -> float:
    """A cell size that makes the wanted neighbours likely to lie in the first two rings, for points along lines."""
    probe = points[:: max(1, len(points) // 32)]
    squared = ((probe[:, None, :] - points[None, :, :]) ** 2).sum(-1)
    typical = float(np.sqrt(np.median(np.partition(squared, k, axis=1)[:, k])))
    return max(typical, float(np.ptp(points, axis=0).max()) / 512)
