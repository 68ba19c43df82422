"""Centrality-based non-maximum suppression: choose group centres that cover an event with little overlap.

PoLAr-MAE (arXiv 2502.02558), algorithm 1: candidates are visited by descending number of neighbours, and a kept centre
removes the candidates around it.
"""

from __future__ import annotations

import numpy as np

from benchmark.ops._grid import frame_of, keys_of, runs_around, sort_by_cell, stable_order
from benchmark.ops._jit import Bool, Float32, Int64, as_points, kernel
from benchmark.ops.neighbours import Neighbours, squared_radius


@kernel
def _suppress(points: Float32, radius: float, limit: np.float32, cap: int) -> tuple[Bool, Int64]:
    n = points.shape[0]
    frame = frame_of(points, points, radius)
    keys = keys_of(points, frame)
    order, first = sort_by_cell(keys)
    n_cells = first.shape[0] - 1
    x, y, z = points[order, 0], points[order, 1], points[order, 2]  # contiguous runs, so the counting vectorises
    sorted_keys = keys[order]
    runs = np.empty((n_cells, 9, 2), dtype=np.int64)
    cell_of = np.empty(n, dtype=np.int64)
    counts = np.empty(n, dtype=np.int64)
    for cell in range(n_cells):
        runs[cell] = runs_around(sorted_keys[first[cell]], sorted_keys, np.int64(frame[4]), np.int64(frame[5]))
        for a in range(first[cell], first[cell + 1]):
            cell_of[order[a]] = cell
            total = 0
            for row in range(9):
                for b in range(runs[cell, row, 0], runs[cell, row, 1]):
                    dx, dy, dz = x[a] - x[b], y[a] - y[b], z[a] - z[b]
                    total += dx * dx + dy * dy + dz * dz < limit
            counts[order[a]] = total
    scores = np.minimum(counts, cap)
    keep = np.ones(n, dtype=np.bool_)
    neighbours = np.empty(counts.max(), dtype=np.int64)
    for candidate in stable_order(scores.max() - scores):  # highest first, equal scores by ascending index
        if not keep[candidate]:
            continue
        px, py, pz = points[candidate, 0], points[candidate, 1], points[candidate, 2]
        n_neighbours = 0
        for row in range(9):
            for b in range(runs[cell_of[candidate], row, 0], runs[cell_of[candidate], row, 1]):
                dx, dy, dz = px - x[b], py - y[b], pz - z[b]
                if dx * dx + dy * dy + dz * dz < limit:
                    neighbours[n_neighbours] = order[b]
                    n_neighbours += 1
        if n_neighbours > cap:  # past the cap only the first neighbours by index are removed
            neighbours[:n_neighbours].sort()
            n_neighbours = cap
        for slot in range(n_neighbours):
            if neighbours[slot] != candidate:
                keep[neighbours[slot]] = False
    return keep, scores


def suppress(
    candidates: Float32, radius: float, overlap: float, max_neighbours: int | None = None
) -> tuple[Int64, Int64]:
    """Centres kept by C-NMS, ascending (k,), and every candidate's score (n,), its neighbour count.

    `candidates` (n, 3) are all points of an event or seeds sampled from it; two count as neighbours when strictly
    nearer than 2 x `radius` x `overlap` (a point is its own neighbour). Higher scores are kept first; ties go to the
    lower index. `overlap` 1 forbids that two balls of `radius` overlap; smaller values let them. With
    `max_neighbours`, only each candidate's first neighbours by index count: scores saturate, and the others are
    not removed.
    """
    points = as_points(candidates, "candidates")
    reach = 2.0 * radius * overlap
    limit = squared_radius(reach)
    if max_neighbours is not None and max_neighbours < 1:
        raise ValueError(f"max_neighbours is {max_neighbours}. At least 1, or None for all, was expected.")
    if not len(points):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    cap = len(points) if max_neighbours is None else max_neighbours
    keep, scores = _suppress(points, float(np.float32(reach)), limit, cap)
    return np.flatnonzero(keep), scores


@kernel
def _suppress_listed(offsets: Int64, indices: Int64) -> Bool:
    scores = offsets[1:] - offsets[:-1]
    keep = np.ones(scores.shape[0], dtype=np.bool_)
    if scores.shape[0] == 0:
        return keep
    for candidate in stable_order(scores.max() - scores):
        if not keep[candidate]:
            continue
        for slot in range(offsets[candidate], offsets[candidate + 1]):
            if indices[slot] != candidate:
                keep[indices[slot]] = False
    return keep


def suppress_listed(neighbours: Neighbours) -> Int64:
    """Centres kept by C-NMS, ascending (k,), from another engine's neighbour lists.

    List i holds the candidates strictly nearer than 2 x radius x overlap to candidate i, itself included, in
    ascending index, cut at the cap where there is one.
    """
    return np.flatnonzero(_suppress_listed(neighbours.offsets, neighbours.indices))
