"""Graphs of a batch, from fine to coarse: the edges of each level, and the merging of nodes.

Everything is built from the points in their canonical order (by event, then x, y, z), so that the storage order changes
no sum and no tie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmark.contracts import PointBatch
from benchmark.ops.graphs import edge_starts

Search = Callable[[Tensor, Tensor, float], Tensor]  # (coords, offsets, size of a node) -> edge_index
N_EDGE = 10  # columns of `edge_features`
LARGEST_KEY = 2**62


@dataclass(frozen=True)
class Merging:
    """Map from the n nodes of a level to m of the next: node `order[starts[c]:starts[c + 1]]` are those of c."""

    parent: Tensor  # (n,) int64
    order: Tensor  # (n,) int64, nodes by parent
    starts: Tensor  # (m + 1,) int64


@dataclass(frozen=True)
class Level:
    """Nodes and edges of one resolution. Nodes are sorted by event, edges by destination."""

    coords: Tensor  # (n, 3), coordinate units
    offsets: Tensor  # (B + 1,) int64: nodes of event b are offsets[b]:offsets[b + 1]
    event: Tensor  # (n,) int64
    edge_index: Tensor  # (2, E) int64: source, destination
    starts: Tensor  # (n + 1,) int64: the edges into node i are starts[i]:starts[i + 1]
    edges: Tensor  # (E, N_EDGE) features
    merging: Merging | None  # into the next level; None for the coarsest


def canonical(batch: PointBatch) -> Tensor:
    """(N,) int64 rows of the batch by event, then x, then y, then z."""
    x, y, z = batch.coords.cpu().numpy().T
    order = np.lexsort((z, y, x, batch.event_index.cpu().numpy()))
    return torch.from_numpy(order).to(batch.coords.device)


def levels(coords: Tensor, offsets: Tensor, event: Tensor, cells: Sequence[float], search: Search) -> list[Level]:
    """The points, then for each of `cells` the previous level's nodes merged into cubes of that edge.

    `coords` (N, 3) in canonical order. A merged node lies at the mean of its nodes.
    """
    hierarchy: list[Level] = []
    for size, coarser in zip((1.0, *cells), (*cells, None), strict=True):
        edge_index = search(coords, offsets, size)
        merging, mean = (None, coords) if coarser is None else merge(coords, event, coarser)
        edges = edge_features(coords, edge_index, size)
        hierarchy.append(
            Level(coords, offsets, event, edge_index, edge_starts(edge_index, len(coords)), edges, merging)
        )
        if merging is None:
            break
        event = event[merging.order[merging.starts[:-1]]]
        counts = torch.bincount(event, minlength=len(offsets) - 1)
        coords, offsets = mean, torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return hierarchy


def merge(coords: Tensor, event: Tensor, size: float) -> tuple[Merging, Tensor]:
    """Nodes that share a cube of edge `size`, and the means of their coordinates (m, 3), summed in the nodes' order."""
    positions = coords.detach().cpu().numpy().astype(np.float64)
    cell = np.floor(positions / size)
    cell -= cell.min(axis=0)
    spans = cell.max(axis=0) + 1
    if spans.prod() * (int(event[-1]) + 1) > LARGEST_KEY:
        raise ValueError(f"coords span {spans.tolist()} cubes of {size}. At most 2^62 cubes were expected.")
    x, y, z = cell.astype(np.int64).T
    n_x, n_y, n_z = spans.astype(np.int64)
    keys = ((event.cpu().numpy() * n_x + x) * n_y + y) * n_z + z
    _, parent, counts = np.unique(keys, return_inverse=True, return_counts=True)
    sums = [np.bincount(parent, weights=positions[:, axis]) for axis in range(3)]
    mean = (np.stack(sums, axis=1) / counts[:, None]).astype(np.float32)
    starts = np.concatenate([[0], np.cumsum(counts)])
    parts = (parent, np.argsort(parent, kind="stable"), starts)
    return Merging(*(torch.from_numpy(p).to(coords.device) for p in parts)), torch.from_numpy(mean).to(coords.device)


def edge_features(coords: Tensor, edge_index: Tensor, size: float) -> Tensor:
    """(E, N_EDGE): the offset from destination to source with its length taken as a logarithm, that length, and the
    products of the direction's components, whose mean over a neighbourhood separates a line from a blob.

    Lengths are in units of `size`; the logarithm limits the rare long edges across gaps.
    """
    offset = (coords[edge_index[0]] - coords[edge_index[1]]) / size
    length = offset.norm(dim=1, keepdim=True)
    direction = offset / length.clamp(min=1e-6)
    short = torch.log1p(length)
    x, y, z = direction.unbind(1)
    products = torch.stack([x * x, y * y, z * z, x * y, y * z, z * x], dim=1)
    return torch.cat([direction * short, short, products], dim=1)
