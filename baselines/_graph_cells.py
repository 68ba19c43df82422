"""The graph of a calorimeter's cells: the detector's neighbours, and edges for points without any."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmark.contracts import PointBatch
from benchmark.ops.graphs import edge_starts, knn_graph

from ._graph import Level
from ._sets import inverse

N_KINDS = 10  # of the detector's links: previous and next in phi, eta, sampling, sub-detector, super-calorimeter
NEAREST = N_KINDS  # the kind of an edge to or from a point without links


def cell_edges(batch: PointBatch, order: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Edges (2, E) int64 from source to destination and their kinds (E,), of the points in the given order (N,).

    Points without a link (hits of tracks, lone cells) are joined both ways with their `k` nearest, as kind NEAREST; not
    for k = 0. Edges are sorted by destination, then source.
    """
    edges, link_kinds = batch.links.ends, batch.links.kind
    if edges is None or link_kinds is None:
        edges, link_kinds = order.new_zeros((0, 2)), order.new_zeros(0)
    edge_index = inverse(order)[edges].T  # (2, E): senders, receivers
    if k:
        nearest = _nearest_edges(batch, order, edge_index, k)
        edge_index = torch.cat([edge_index, nearest], dim=1)
        link_kinds = torch.cat([link_kinds, link_kinds.new_full((nearest.shape[1],), NEAREST)])
    source, destination = edge_index.cpu().numpy()
    sorting = torch.from_numpy(np.lexsort((link_kinds.cpu().numpy(), source, destination))).to(order.device)
    return edge_index[:, sorting], link_kinds[sorting]


def _nearest_edges(batch: PointBatch, order: Tensor, edge_index: Tensor, k: int) -> Tensor:
    """(2, E) edges between points that receive nothing and their nearest, each way once."""
    alone = torch.ones(batch.n_points, dtype=torch.bool, device=order.device)
    alone[edge_index[1]] = False
    nearest = knn_graph(batch.coords[order], batch.offsets, k)
    nearest = nearest[:, alone[nearest[1]]]
    return torch.unique(torch.cat([nearest, nearest.flip(0)], dim=1), dim=1)


def cell_level(batch: PointBatch, order: Tensor, k: int) -> Level:
    """The graph as one level, with the one-hot kind as edge features: (E, 10), or (E, 11) for k > 0."""
    edge_index, link_kinds = cell_edges(batch, order, k)
    one_hot = torch.nn.functional.one_hot(link_kinds, N_KINDS + (k > 0)).to(batch.coords.dtype)
    starts = edge_starts(edge_index, batch.n_points)
    return Level(batch.coords[order], batch.offsets, batch.event_index, edge_index, starts, one_hot, None)
