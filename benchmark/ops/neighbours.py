"""Neighbour searches within one event: all points in a ball, and the k nearest.

The first uses a uniform grid, the second boxes around points that are close together; both return exactly what
comparing every pair in float32 returns: `d^2 < r^2` is strict, neighbours in a ball come in ascending index, and among
equidistant neighbours the lower index is nearer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from benchmark.ops._grid import frame_of, keys_of, runs_around, stable_order
from benchmark.ops._jit import Float32, Int32, Int64, as_points, kernel

BLOCK = 32  # points per box in the search for the nearest
CURVE_BITS = 10  # per axis of the curve that orders the points
INFINITY_BITS = 0x7F800000  # of a float32
INDEX_BITS = (1 << 32) - 1  # the lower half of a key that holds a distance and an index


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
    """The squared radius in single precision: rounded first, then squared."""
    if not radius > 0:
        raise ValueError(f"radius is {radius}. A positive length was expected.")
    single = np.float32(radius)
    squared: np.float32 = single * single
    return squared


@kernel
def _search_balls(queries: Float32, points: Float32, radius: float, limit: np.float32, cap: int) -> tuple[Int64, Int64]:
    """Searches the cells around each query; neighbours are sorted by index and cut at the cap."""
    n_queries = queries.shape[0]
    frame = frame_of(queries, points, radius)
    n_y, n_z = np.int64(frame[4]), np.int64(frame[5])
    keys = keys_of(points, frame)
    order = stable_order(keys)
    sorted_keys = keys[order]
    x, y, z = points[order, 0], points[order, 1], points[order, 2]
    query_keys = keys_of(queries, frame)
    offsets = np.zeros(n_queries + 1, dtype=np.int64)
    indices = np.empty(max(4 * points.shape[0], 64), dtype=np.int64)
    candidates = np.empty(points.shape[0], dtype=np.int64)
    for query in range(n_queries):
        runs = runs_around(query_keys[query], sorted_keys, n_y, n_z)
        px, py, pz = queries[query, 0], queries[query, 1], queries[query, 2]
        n_near = 0
        for row in range(9):
            for position in range(runs[row, 0], runs[row, 1]):
                dx, dy, dz = x[position] - px, y[position] - py, z[position] - pz
                candidates[n_near] = order[position]  # overwritten unless it counts: no branch to mispredict
                n_near += dx * dx + dy * dy + dz * dz < limit
        candidates[:n_near].sort()
        n_kept = min(n_near, cap)
        stop = offsets[query] + n_kept
        if stop > indices.shape[0]:
            longer = np.empty(2 * stop, dtype=np.int64)
            longer[: offsets[query]] = indices[: offsets[query]]
            indices = longer
        indices[offsets[query] : stop] = candidates[:n_kept]
        offsets[query + 1] = stop
    return offsets, indices[: offsets[n_queries]].copy()


def ball_query(queries: Float32, points: Float32, radius: float, max_neighbours: int | None = None) -> Neighbours:
    """Points strictly nearer than `radius` to each query, in ascending index.

    `queries` (m, 3) and `points` (n, 3) in the unit of `radius`. `max_neighbours` keeps the first by index,
    not by distance; None keeps all.
    """
    query_points, all_points = as_points(queries, "queries"), as_points(points, "points")
    limit = squared_radius(radius)
    if max_neighbours is not None and max_neighbours < 1:
        raise ValueError(f"max_neighbours is {max_neighbours}. At least 1, or None for all, was expected.")
    if not len(query_points) or not len(all_points):
        return Neighbours(np.zeros(len(query_points) + 1, dtype=np.int64), np.empty(0, dtype=np.int64))
    cap = len(all_points) if max_neighbours is None else max_neighbours
    return Neighbours(*_search_balls(query_points, all_points, float(np.float32(radius)), limit, cap))


@kernel
def _curve_order(points: Float32) -> Int64:
    """The points in the order of a space-filling (Morton) curve, so that consecutive ones lie close together."""
    low, extent = np.empty(3), 0.0
    for axis in range(3):
        low[axis] = points[:, axis].min()
        extent = max(extent, np.float64(points[:, axis].max()) - low[axis])
    steps = ((1 << CURVE_BITS) - 1) / extent if extent > 0 else 0.0
    codes = np.zeros(points.shape[0], dtype=np.int64)
    for i in range(points.shape[0]):
        for axis in range(3):
            step = np.int64((np.float64(points[i, axis]) - low[axis]) * steps)
            for bit in range(CURVE_BITS):
                codes[i] |= ((step >> bit) & 1) << (3 * bit + axis)
    return stable_order(codes)


@kernel
def _bounding_boxes(near: Float32) -> Float32:
    """Bounding box of each block of consecutive points: (6, n_blocks), lower ends, then upper ends."""
    n_blocks = (near.shape[0] + BLOCK - 1) // BLOCK
    boxes = np.empty((6, n_blocks), dtype=np.float32)
    for block in range(n_blocks):
        for axis in range(3):
            low = high = near[block * BLOCK, axis]
            for i in range(block * BLOCK + 1, min((block + 1) * BLOCK, near.shape[0])):
                low, high = min(low, near[i, axis]), max(high, near[i, axis])
            boxes[axis, block], boxes[3 + axis, block] = low, high
    return boxes


@kernel
def _distances_to_boxes(px: np.float32, py: np.float32, pz: np.float32, boxes: Float32, squared: Float32) -> None:
    """Squared point-to-box distances, into `squared` (n_blocks,); 0 inside. One axis at a time vectorises."""
    zero = np.float32(0)
    for axis, coordinate in enumerate((px, py, pz)):
        low, high = boxes[axis], boxes[3 + axis]
        for block in range(squared.shape[0]):
            below, above = low[block] - coordinate, coordinate - high[block]
            gap = below if below > above else above
            gap = gap if gap > zero else zero
            squared[block] = gap * gap if axis == 0 else squared[block] + gap * gap


@kernel
def _enter_block(query: Float32, near: Float32, order: Int64, block: int, keys: Int64, bits: Int32) -> None:
    """Put the points of one block that are near enough into the sorted `keys`; `bits` (BLOCK,) is a work buffer."""
    first = block * BLOCK
    n_inside = min(BLOCK, near.shape[1] - first)
    distances = bits.view(np.float32)
    for i in range(n_inside):
        dx, dy, dz = query[0] - near[0, first + i], query[1] - near[1, first + i], query[2] - near[2, first + i]
        distances[i] = dx * dx + dy * dy + dz * dz
    last = keys.shape[0] - 1
    for i in range(n_inside):
        key = (np.int64(bits[i]) << 32) | order[first + i]
        if key >= keys[last]:
            continue
        slot = last
        while slot > 0 and key < keys[slot - 1]:
            keys[slot] = keys[slot - 1]
            slot -= 1
        keys[slot] = key


@kernel
def _nearest(queries: Float32, points: Float32, best: Int64, nearest: Float32) -> None:
    """Skips blocks of points whose box is farther than the worst neighbour so far.

    A point's distance is never below its box's: rounding is monotone, and both are computed alike. Distance and index
    make one key, since non-negative floats order like their bit patterns: equal distances go by index.
    """
    k = best.shape[1]
    order = _curve_order(points)
    near = np.empty((3, points.shape[0]), dtype=np.float32)
    for axis in range(3):
        near[axis] = points[order, axis]
    boxes = _bounding_boxes(points[order])
    n_blocks = boxes.shape[1]
    squared = np.empty(n_blocks, dtype=np.float32)
    squared_bits, squares = squared.view(np.int32), nearest.view(np.int32)
    near_blocks = np.empty(n_blocks, dtype=np.int64)
    bits = np.empty(BLOCK, dtype=np.int32)
    keys = np.empty(k, dtype=np.int64)
    none = (np.int64(INFINITY_BITS) << 32) | INDEX_BITS
    for query in range(queries.shape[0]):
        _distances_to_boxes(queries[query, 0], queries[query, 1], queries[query, 2], boxes, squared)
        lowest = np.int32(INFINITY_BITS)
        for block in range(n_blocks):  # integers: a minimum that vectorises
            lowest = min(lowest, squared_bits[block])
        start = 0
        while squared_bits[start] != lowest:
            start += 1
        keys[:] = none
        low = max(start - k // (2 * BLOCK), 0)  # with its neighbours along the curve, about k points
        high = min(start + k // (2 * BLOCK) + 1, n_blocks)
        for block in range(low, high):
            _enter_block(queries[query], near, order, block, keys, bits)
        worst = np.int32(keys[k - 1] >> 32)
        n_near = 0
        for block in range(n_blocks):
            near_blocks[n_near] = block  # overwritten unless it counts: no branch to mispredict
            n_near += (squared_bits[block] <= worst) & ((block < low) | (block >= high))
        for slot in range(n_near):
            if squared_bits[near_blocks[slot]] <= keys[k - 1] >> 32:
                _enter_block(queries[query], near, order, near_blocks[slot], keys, bits)
        for slot in range(k):
            best[query, slot] = keys[slot] & INDEX_BITS if keys[slot] != none else -1
            squares[query, slot] = keys[slot] >> 32


def k_nearest(queries: Float32, points: Float32, k: int) -> tuple[Int64, Float32]:
    """The `k` nearest points of each query: indices (m, k) and squared distances (m, k), nearest first.

    Equidistant points are ordered by index. Where fewer than `k` points exist, the rest is -1 and infinity.
    """
    query_points, all_points = as_points(queries, "queries"), as_points(points, "points")
    if k < 1:
        raise ValueError(f"k is {k}. At least 1 neighbour was expected.")
    best = np.full((len(query_points), k), -1, dtype=np.int64)
    nearest = np.full((len(query_points), k), np.inf, dtype=np.float32)
    if not len(query_points) or not len(all_points):
        return best, nearest
    _nearest(query_points, all_points, best, nearest)
    return best, nearest
