"""Farthest point sampling (Eldar et al. 1997; PointNet++, Qi et al. 2017, section 3.2)."""

from __future__ import annotations

import numpy as np

from benchmark.ops._jit import Float32, Int64, as_points, kernel


@kernel
def _farthest(points: Float32, n_select: int, start: int) -> Int64:
    n = points.shape[0]
    x, y, z = points[:, 0].copy(), points[:, 1].copy(), points[:, 2].copy()
    nearest = np.full(n, np.float32(np.inf), dtype=np.float32)
    # Non-negative floats order like their bit patterns, and an integer maximum vectorises where a float one does not.
    bits = nearest.view(np.int32)
    chosen = np.empty(n_select, dtype=np.int64)
    last = start
    for slot in range(n_select):
        chosen[slot] = last
        px, py, pz = x[last], y[last], z[last]
        top = np.int32(-1)
        for i in range(n):
            dx, dy, dz = x[i] - px, y[i] - py, z[i] - pz
            nearest[i] = min(nearest[i], dx * dx + dy * dy + dz * dz)
        for i in range(n):
            top = max(top, bits[i])
        for i in range(n):  # the lowest index wins a tie
            if bits[i] == top:
                last = i
                break
    return chosen


def farthest_points(coords: Float32, n_select: int, start: int = 0) -> Int64:
    """Indices of `min(n_select, n)` points, each the farthest from those before it; a tie goes to the lower index.

    `coords` (n, 3); the first selected point is `start`. Coincident points are selected, after all others, as
    repetitions of the lowest index, as in the usual implementations.
    """
    points = as_points(coords)
    if n_select < 0 or not 0 <= start < max(len(points), 1):
        raise ValueError(
            f"n_select is {n_select}, start {start}. At least 0, and an index below {len(points)}, were expected."
        )
    return _farthest(points, min(n_select, len(points)), start)
