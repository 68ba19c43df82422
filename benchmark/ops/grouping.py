"""Turn one event into tokens: centres by C-NMS, a ball of points around each, thinned by farthest point sampling.

PoLAr-MAE (arXiv 2502.02558), section 3.1 and table 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from benchmark.ops._jit import Bool, Float32, Int64, as_points, kernel
from benchmark.ops.cnms import suppress
from benchmark.ops.fps import _farthest, farthest_points
from benchmark.ops.neighbours import Neighbours, ball_query


@dataclass(frozen=True)
class GroupingConfig:
    """How an event is cut into groups; lengths in the unit of the coordinates."""

    radius: float = 5.0  # radius of a group; 5 voxels of 3 mm in the paper
    overlap: float = 0.73  # f: centres are kept at least 2 x radius x f apart
    n_points: int = 32  # points per group, K; a fuller ball is thinned
    max_groups: int | None = 512  # context length; None: no limit
    overflow: Literal["first", "spread"] = "first"  # centres kept beyond the limit: the first, or far from each other
    n_seeds: int | None = None  # candidates: this many farthest points, or all points when None
    max_candidate_neighbours: int | None = None  # cap of the neighbour lists inside C-NMS, None: no cap
    max_ball: int | None = None  # cap of a ball before it is thinned, first by index; None: no cap


class Groups(NamedTuple):
    """The T groups of one event. Points may belong to several groups or to none."""

    centres: Int64  # (T,) index of each group's central point, ascending
    indices: Int64  # (T, K) member points in the order of sampling; empty slots repeat the first member
    mask: Bool  # (T, K) True where the slot holds a point of its own


@kernel
def _thin(points: Float32, offsets: Int64, members: Int64, n_points: int) -> tuple[Int64, Bool]:
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
    return _thin(as_points(coords), balls.offsets, balls.indices, n_points)


def group_event(coords: Float32, config: GroupingConfig) -> Groups:
    """The groups of one event, `coords` (n, 3) in the unit of `config.radius`. An empty event has no groups.

    The result follows the order of the points where distances or scores tie; callers that need independence of the
    order sort the points first.
    """
    points = as_points(coords)
    if config.max_groups is not None and config.max_groups < 1:
        raise ValueError(f"max_groups is {config.max_groups}. At least 1 group per event, or None, was expected.")
    if config.n_seeds is None:
        kept, _ = suppress(points, config.radius, config.overlap, config.max_candidate_neighbours)
    else:
        seeds = farthest_points(points, config.n_seeds)
        kept, _ = suppress(points[seeds], config.radius, config.overlap, config.max_candidate_neighbours)
        kept = seeds[kept]
    centres = kept
    if config.max_groups is not None and len(kept) > config.max_groups:
        spread = config.overflow == "spread"
        centres = (
            kept[np.sort(farthest_points(points[kept], config.max_groups))] if spread else kept[: config.max_groups]
        )
    balls = ball_query(points[centres], points, config.radius, config.max_ball)
    return Groups(centres, *thin(points, balls, config.n_points))
