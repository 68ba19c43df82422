"""The inputs, read-outs and loss of the published graph network for single pions.

ATL-PHYS-PUB-2022-040 and its public code gn4pions. A node is a cell: log10 of its energy in GeV, sampling, eta, phi,
r_perp, deta, dphi. An edge feature is the kind of neighbours, one of 10. The graph's features are log10 of the
cluster's energy; or, with a track, log10 of the energies of the first ten clusters, and log10 pT, z0, eta, phi of the
track. The network learns log10 of the true energy and the type of pion at once: 0.75 MAE + 0.25 BCE.

Two differences. The code sets absent clusters to 0 after scaling, that is to a cluster of 7.9 GeV; here they have the
energy `ABSENT_GEV`, below every real one. There, with a track each cluster is a separate graph, all with the event's
target; here the cells of all clusters are one graph, without edges between clusters, with one output. Points of tracks
are not nodes.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.contracts import Links, PointBatch
from benchmark.contracts.cells import ABSENT_GEV, N_LEADING
from benchmark.ops.graphs import edge_starts

from ._graph import Level, canonical
from ._graph_cells import N_KINDS, cell_edges

N_NODE = 7
N_GLOBAL = {"cluster": 1, "track": N_LEADING + 4}  # by the sample of the task
LOWEST_GEV = 1e-3  # of a cell, against the logarithm of 0; MLTree keeps cells above 0.005
# (shift, scale) of each column, subtracted and divided by
_SCALED = ((0.0, 1.0), (0.0, 28.0), (0.0, 1.0), (0.0, 1.0), (0.0, 3000.0), (0.0, 1.0), (0.0, 1.0))
_STANDARDISED = (
    (-1.0122, 0.8184), (3.8827, 3.9588), (0.0006, 1.4709), (0.0, 1.8137), (1478.93, 434.61), (0.02661, 0.03396),
    (0.06869, 0.03859),
)  # fmt: skip
_CLUSTER = (0.8992, 1.0586)
_TRACK = ((1.6333, 0.8482), (0.0802, 42.533), (-0.0056, 1.3524), (0.0021, 1.8124))  # log10 pT, z0, eta, phi


def scaled(columns: list[Tensor], scales: tuple[tuple[float, float], ...]) -> Tensor:
    """(n, C) the columns (n,), each less its shift and over its scale."""
    return torch.stack([(x.float() - shift) / scale for x, (shift, scale) in zip(columns, scales, strict=True)], dim=1)


def node_inputs(batch: PointBatch, sample: str) -> Tensor:
    """(N, 7) the published columns in their order, scaled as published for clusters alone or with a track."""
    info = batch.point_info
    energy = batch.energy.clamp(min=LOWEST_GEV).log10()
    columns = [energy, *(info[name] for name in ("sampling", "eta", "phi", "r_perp_mm", "deta", "dphi"))]
    return scaled(columns, _SCALED if sample == "cluster" else _STANDARDISED)


def global_inputs(batch: PointBatch, sample: str) -> Tensor:
    """(B, 1) log10 of the cluster's energy, or (B, 14) the standardised numbers of clusters and track."""
    info = batch.event_info
    if sample == "cluster":
        return info["cluster_e"].float().clamp(min=ABSENT_GEV).log10()[:, None]
    clusters = [info[f"cluster_e_{i}"].clamp(min=ABSENT_GEV).log10() for i in range(N_LEADING)]
    track = [info["track_pt"].clamp(min=ABSENT_GEV).log10(), *(info[f"track_{n}"] for n in ("z0", "eta", "phi"))]
    return scaled([*clusters, *track], (*[_CLUSTER] * N_LEADING, *_TRACK))


def cells_only(batch: PointBatch) -> PointBatch:
    """The batch without points of tracks, and without labels."""
    category = batch.point_info.get("category")
    if category is None or bool((category == 1).all()):
        return batch
    is_cell = category == 1
    new_index = torch.cumsum(is_cell, 0) - 1
    counts = torch.bincount(batch.event_index[is_cell], minlength=batch.n_events)
    links, ends, link_kinds = batch.links, batch.links.ends, batch.links.kind
    if ends is not None and link_kinds is not None:
        is_inside = is_cell[ends].all(dim=1)
        links = Links(new_index[ends[is_inside]], link_kinds[is_inside])
    return dataclasses.replace(
        batch, coords=batch.coords[is_cell], energy=batch.energy[is_cell], feats=batch.feats[is_cell],
        offsets=torch.cat([counts.new_zeros(1), counts.cumsum(0)]), target=None, instance=None, links=links,
        point_info={name: values[is_cell] for name, values in batch.point_info.items()},
    )  # fmt: skip


class PionNetwork(nn.Module):
    """Blocks on the graph of cells; two read-outs: the second is the type, a linear map of both the energy."""

    def __init__(self, blocks: nn.Module, state_width: int, sample: str) -> None:
        """`blocks`: a `Stack` of the published inputs; `sample`: cluster or track."""
        super().__init__()
        self.blocks = blocks
        self.sample = sample
        self.read_outs = nn.ModuleList([nn.Linear(state_width, 1), nn.Linear(state_width, 1)])
        self.energy = nn.Linear(2, 1)
        self.apply(_initialise)

    def forward(self, batch: PointBatch) -> tuple[Tensor, Tensor]:
        """log10 of the energy in GeV (B,), and the logit of a charged pion (B,)."""
        batch = cells_only(batch)
        order = canonical(batch)
        edge_index, link_kinds = cell_edges(batch, order, 0)
        edges = functional.one_hot(link_kinds, N_KINDS).to(batch.coords.dtype)
        starts = edge_starts(edge_index, batch.n_points)
        level = Level(batch.coords[order], batch.offsets, batch.event_index, edge_index, starts, edges, None)
        x, state = node_inputs(batch, self.sample)[order], global_inputs(batch, self.sample)
        _, states = self.blocks(x, edges, state, level)
        outputs = torch.cat([read_out(states) for read_out in self.read_outs], dim=1)  # (B, 2)
        return self.energy(outputs).squeeze(1), outputs[:, 1]


def _initialise(module: nn.Module) -> None:
    """Initialisation of linear layers in that code: normal, cut at 2 deviations of 1 / sqrt(inputs), no bias.

    PyTorch's default has less than half the variance, and signals fade over four blocks.
    """
    if isinstance(module, nn.Linear):
        std = module.in_features**-0.5
        nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
        nn.init.zeros_(module.bias)


def published_loss(log_energy: Tensor, logit: Tensor, true: Tensor, charged: Tensor, share: float) -> Tensor:
    """share x MAE of log10 E + (1 - share) x BCE of the type; all (B,)."""
    regression = functional.l1_loss(log_energy, true)
    classification = functional.binary_cross_entropy_with_logits(logit, charged.to(logit.dtype))
    return share * regression + (1 - share) * classification
