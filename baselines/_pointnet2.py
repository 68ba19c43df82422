"""Neighbourhoods of each level: farthest points, balls around them, nearest centres. Events are separate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmark.contracts import PointBatch
from benchmark.ops.fps import farthest_points
from benchmark.ops.neighbours import Neighbours, ball_query, k_nearest

N_NEAREST = 3  # centres that a point's features are interpolated from (section 3.4)


class Level(NamedTuple):
    """Map from N finer points to M centres, and back by interpolation. Rows are those of the whole batch."""

    members: Tensor  # (M, K) int64 points in the ball of each centre; empty slots repeat the others
    relative: Tensor  # (M K, 3) float32 their positions relative to the centre, in radii
    nearest: Tensor  # (N, 3) int64 centres near each point, the nearest first
    weights: Tensor  # (N, 3) float32 of these centres; rows sum to 1


def canonical_order(batch: PointBatch) -> Tensor:
    """(N,) rows by event, coordinates and features: makes the result independent of the order of the points."""
    columns = torch.cat([batch.coords, batch.feats], dim=1).detach().cpu().numpy()
    keys = (*columns.T[::-1], batch.event_index.cpu().numpy())  # the last key is the primary one
    return torch.as_tensor(np.lexsort(keys), device=batch.coords.device)


def hierarchy(
    coords: Tensor, lengths: Tensor, centres: Sequence[float], radii: Sequence[float], n_neighbours: int
) -> list[Level]:
    """Levels from fine to coarse, from coords (N, 3) of events with `lengths` (B,) points, in the unit of `radii`."""
    events = np.split(coords.detach().cpu().numpy(), np.cumsum(lengths.cpu().numpy())[:-1])
    levels = []
    for n_or_share, radius in zip(centres, radii, strict=True):
        chosen = [farthest(points, n_or_share) for points in events]
        levels.append(_level(events, chosen, radius, n_neighbours, coords.device))
        events = [points[c] for points, c in zip(events, chosen, strict=True)]
    return levels


def farthest(points: np.ndarray, n_or_share: float) -> np.ndarray:
    """Ascending rows of farthest points, from the one farthest from the centroid; of coincident ones the first.

    `n_or_share` below 1 is a share of the points, else a number; there is always at least one.
    """
    n_select = max(1, round(n_or_share * len(points))) if n_or_share < 1 else int(n_or_share)
    squared = np.square(points - points.mean(axis=0, dtype=np.float64)).sum(axis=1)
    return np.unique(farthest_points(points, n_select, int(np.argmax(squared))))


def _level(
    events: Sequence[np.ndarray], chosen: Sequence[np.ndarray], radius: float, n_neighbours: int, device: torch.device
) -> Level:
    n_points = n_centres = 0
    parts: list[tuple[np.ndarray, ...]] = []
    for points, rows in zip(events, chosen, strict=True):
        centres = points[rows]
        members = spread(ball_query(centres, points, radius), n_neighbours)
        relative = (points[members] - centres[:, None]) / np.float32(radius)
        nearest, weights = interpolation(points, centres)
        parts.append((members + n_points, relative.reshape(-1, 3), nearest + n_centres, weights))
        n_points, n_centres = n_points + len(points), n_centres + len(centres)
    return Level(*(torch.as_tensor(np.concatenate(p), device=device) for p in zip(*parts, strict=True)))


def spread(balls: Neighbours, width: int) -> np.ndarray:
    """(M, width) members of each ball: an even subset of a larger ball, repetitions for a smaller one."""
    counts = balls.counts[:, None]
    slots = np.arange(width)
    indices = np.where(counts > width, slots * counts // width, slots % np.maximum(counts, 1))
    members: np.ndarray = balls.indices[balls.offsets[:-1, None] + indices]
    return members


def interpolation(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 3 nearest centres of each point (N, 3) and their weights by inverse squared distance (equation 2).

    Where fewer centres exist, the nearest fills the table with weight 0.
    """
    nearest, squared = k_nearest(points, centres, N_NEAREST)
    inverse = np.where(nearest < 0, 0.0, 1.0 / np.maximum(squared, 1e-10)).astype(np.float32)
    return np.where(nearest < 0, nearest[:, :1], nearest), inverse / inverse.sum(axis=1, keepdims=True)
