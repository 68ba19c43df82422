"""Groups of at most K points: farthest point sampling inside every ball (PoLAr-MAE, arXiv 2502.02558, table 5)."""

from __future__ import annotations

import numpy as np

from benchmark.ops._jit import Bool, Float32, Int64, as_points, kernel
from benchmark.ops.fps import _farthest
from benchmark.ops.neighbours import Neighbours


@kernel
def _thin_balls(points: Float32, offsets: Int64, members: Int64, n_points: int) -> tuple[Int64, Bool]:
    """Farthest point sampling inside each ball, from its first point; the order of sampling is kept."""
    n_groups = offsets.shape[0] - 1
    indices = np.full((n_groups, n_points), -1, dtype=np.int64)
    mask = np.zeros((n_groups, n_points), dtype=np.bool_)
    for group in range(n_groups):
        ball = members[offsets[group] : offsets[group + 1]]
        if ball.shape[0] == 0:
            continue
        n_kept = min(n_points, ball.shape[0])
        chosen = _farthest(points[ball], n_kept, 0)
        for slot in range(n_points):
            indices[group, slot] = ball[chosen[slot if slot < n_kept else 0]]
        mask[group, :n_kept] = True
    return indices, mask


def thin(coords: Float32, balls: Neighbours, n_points: int) -> tuple[Int64, Bool]:
    """At most `n_points` members of each ball by farthest point sampling: indices and mask, both (T, n_points)."""
    if n_points < 1:
        raise ValueError(f"n_points is {n_points}. At least 1 point per group was expected.")
    return _thin_balls(as_points(coords), balls.offsets, balls.indices, n_points)
