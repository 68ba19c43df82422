"""Sets of points: a whole event, or the points of an event in one cube. Ragged; events are never mixed."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from benchmark.contracts import PointBatch
from benchmark.ops.host_tables import like
from benchmark.ops.segments import segment_max, segment_mean


class Sets(NamedTuple):
    """The N points of S sets, set after set."""

    order: Tensor  # (N,) int64 the row of each point in the batch
    lengths: Tensor  # (S,) int64 points of each set
    index: Tensor  # (N,) int64 the set of each point
    xyz: Tensor  # (N, 3) float32 coordinates about the set's centroid, over `radius`
    radius: Tensor  # (N, 1) float32 in coordinate units
    feats: Tensor  # (N, C) float32


def whole_events(batch: PointBatch, unit: str | float) -> Sets:
    """Each event is a set about its centroid. `unit`: `farthest` point, or `deviation`, the root of the variance.

    A number above 0 is a length, in coordinate units: coordinates are then relative to the frame's centre, for
    detectors whose frame is defined per event.
    """
    event = batch.event_index
    rows = torch.arange(batch.n_points, device=event.device)
    if not isinstance(unit, str):
        xyz = (batch.coords - like(batch.frame.centre, batch.coords)) / unit
        return Sets(rows, batch.lengths, event, xyz, torch.full_like(xyz[:, :1], unit), batch.feats)
    centred = about_centroid(batch.coords, event, batch.n_events)
    if unit == "farthest":
        radius = segment_max(centred.norm(dim=1, keepdim=True), batch.lengths)
    else:
        variance = segment_mean(centred.double().square().mean(dim=1, keepdim=True), event, batch.n_events)
        radius = variance.sqrt().to(centred.dtype)
    radius = torch.where(radius > 0, radius, 1.0)[event]
    return Sets(rows, batch.lengths, event, centred / radius, radius, batch.feats)


def cubes(batch: PointBatch, side: float) -> Sets:
    """The points of an event in one cube are a set. Cubes begin at the event's lowest coordinates.

    Three more features are the position in the event, 0 to 1 along each axis of the event's bounding box.
    """
    event = batch.event_index
    low, high = (sign * segment_max(sign * batch.coords, batch.lengths) for sign in (-1.0, 1.0))
    inside = batch.coords - low[event]
    cell = (inside / side).long()  # (N, 3), far below 2^16
    key = (((event << 16 | cell[:, 0]) << 16 | cell[:, 1]) << 16) | cell[:, 2]
    _, index, lengths = torch.unique(key, return_inverse=True, return_counts=True)
    order = torch.argsort(index, stable=True)
    extent = torch.where(high > low, high - low, 1.0)
    feats = torch.cat([batch.feats, inside / extent[event]], dim=1)
    xyz = about_centroid(batch.coords, index, len(lengths)) / (side / 2)
    radius = torch.full_like(xyz[:, :1], side / 2)
    return Sets(order, lengths, index[order], xyz[order], radius, feats[order])


def about_centroid(coords: Tensor, index: Tensor, n_sets: int) -> Tensor:
    """(N, 3) coordinates less the mean over each set. In float64, so sums do not depend on the order of the points."""
    centre = segment_mean(coords.double(), index, n_sets)
    return (coords - centre[index]).to(coords.dtype)


def inverse(order: Tensor) -> Tensor:
    """(N,) int64 the permutation that undoes `order` (N,)."""
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    return back


def check_waves(n_waves: int, wavelengths: tuple[float, float]) -> None:
    """Raises ValueError for settings that are invalid for `waves`."""
    if n_waves < 0 or not 0 < wavelengths[0] <= wavelengths[1]:
        raise ValueError(
            f"waves={n_waves} with wavelengths={wavelengths} are not possible. A number from 0 on, and two lengths "
            f"above 0, the shorter one first, were expected."
        )


def waves(xyz: Tensor, n_waves: int, wavelengths: tuple[float, float]) -> Tensor:
    """(N, 6 n_waves) sines and cosines of coordinates (N, 3) in the unit of the wavelengths, shortest and longest."""
    shortest, longest = (math.log(w) for w in wavelengths)
    lengths = torch.linspace(shortest, longest, n_waves, dtype=xyz.dtype, device=xyz.device).exp()
    phase = (2 * math.pi * xyz[:, :, None] / lengths).flatten(1)
    return torch.cat([phase.sin(), phase.cos()], dim=1)
