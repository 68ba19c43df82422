"""Graph network: messages along the edges of a graph of neighbours, and a state of the whole event.

A block updates edges, then nodes, then the state of the event (Battaglia et al., "Relational inductive biases, deep
learning, and graph networks", arXiv:1806.01261, section 3.2). Two networks are made of such blocks:

- `stack` (preset `paper`): four blocks as in the ATLAS study of single pions (ATL-PHYS-PUB-2022-040 and its public code
  gn4pions), perceptrons of 4 x 64 for edges, nodes and state, each block reading the two latent graphs before it. With
  that study's inputs (7 per node, 10 per edge, 1 per graph) and read-outs it has the published 333,063 parameters. Its
  graphs are neighbouring cells; on points it takes the study's variant of 4 nearest neighbours and sums.
- `pyramid` (preset `default`): residual blocks on the points, then on nodes that gather the points of ever larger
  cubes, and back. Coarse edges and the state carry what lies tens of voxels away.

Layers are PyTorch Geometric's; the graphs are our own (`benchmark.ops.graphs`), since its search needs a compiled
package. Points are put in the order of their coordinates first, so that the order of storage changes no sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, embedding, linear
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.aggr import MaxAggregation

from benchmark.contracts import Inputs, ModelSpec, PointBatch, Preset, Task
from benchmark.heads import PointModel
from benchmark.ops.graphs import knn_graph, radius_graph
from benchmark.ops.segments import segment_mean

from ._graph import N_EDGE, Level, canonical, levels
from ._graph_messages import mean_and_maximum

REDUCERS = ("sum", "mean", "max")


@dataclass(frozen=True)
class GNNConfig:
    """The graph, and the network on it."""

    network: str = "pyramid"  # pyramid: ever coarser graphs and back | stack: blocks on the points' graph (published)
    graph: str = "knn"  # knn: the k nearest | radius: those of the k nearest that lie within `radius`
    k: int = 8  # nodes that a node receives messages from, at most
    radius: float = 4.0  # in coordinate units on the points; on coarser levels in units of the cube's edge
    # the pyramid
    cells: tuple[float, ...] = (4.0, 12.0, 36.0)  # edges of the cubes that merge nodes, in coordinate units
    widths: tuple[int, ...] = (32, 64, 96, 128)  # channels of a node: of the points, then of each level of cubes
    blocks: tuple[int, ...] = (1, 1, 2, 2)  # blocks of each of these levels
    state: int = 32  # channels of the event's state
    out: int = 48  # features of a point that the head reads
    # the stack
    n_blocks: int = 4  # blocks, one after the other
    width: int = 64  # channels of nodes, edges and state
    layers: int = 4  # of each perceptron
    reducer: str = "mean"  # how a node sums up the edges that it receives: sum | mean | max

    def __post_init__(self) -> None:
        for name in ("k", "state", "out", "n_blocks", "width", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is not possible. A number from 1 on was expected.")
        choices = {"network": ("pyramid", "stack"), "graph": ("knn", "radius"), "reducer": REDUCERS}
        for name, valid in choices.items():
            value = getattr(self, name)
            if value not in valid:
                raise ValueError(f"{name}={value!r} is not known. One of {', '.join(valid)} was expected.")
        if not self.radius > 0:
            raise ValueError(f"radius={self.radius} is not possible. A length above 0 was expected.")
        if any(not a < b for a, b in pairwise((0.0, *self.cells))):
            raise ValueError(f"cells={self.cells} is not possible. Lengths above 0 that rise were expected.")
        for name in ("widths", "blocks"):
            value = getattr(self, name)
            if len(value) != len(self.cells) + 1 or min(value) < 1:
                raise ValueError(
                    f"{name}={value} is not possible. A number from 1 on for the points and for each of the "
                    f"{len(self.cells)} cells was expected."
                )


class NodeNorm(nn.BatchNorm1d):
    """Batch norm of nodes: it takes away what all nodes have in common, which a norm over channels leaves.

    A single row has no spread; it is seen as in evaluation.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(n, C) from (n, C)."""
        if self.training and len(x) == 1:
            return batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


def of_nodes(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers, each with a norm over nodes and a ReLU."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out, bias=False), NodeNorm(n_out), nn.ReLU()]
    return nn.Sequential(*layers)


def perceptron(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers, each with a ReLU, then a norm over channels: rows never see each other."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.LayerNorm(widths[-1]))


class Edges(MessagePassing):
    """Messages along edges that are sorted by destination, summed up run by run: no scattering, the same every time."""

    def aggregate(self, inputs: Tensor, index: Tensor, starts: Tensor) -> Tensor:  # type: ignore[override]
        """(n, C) from messages (E, C)."""
        received: Tensor = self.aggr_module(inputs, ptr=starts, dim=self.node_dim)
        return received


class StackBlock(Edges):
    """One block of the stack: edges, nodes and state, each a perceptron of all that it touches.

    The first layer of the edges acts on each node once instead of once per edge, which gives the same sums.
    """

    def __init__(self, node: int, edge: int, state: int, width: int, layers: int, reducer: str) -> None:
        """Channels of the block's inputs, and `width` of all its outputs."""
        super().__init__(aggr=reducer)
        hidden = [width] * layers
        self.inputs = [edge, node, node, state]
        self.edge = perceptron((sum(self.inputs), *hidden))
        self.node = perceptron((node + width + state, *hidden))
        self.state = perceptron((width + state, *hidden))

    def forward(self, x: Tensor, edges: Tensor, state: Tensor, level: Level) -> tuple[Tensor, Tensor, Tensor]:
        """New nodes (n, width), edges (E, width) and states (B, width)."""
        first: Any = self.edge[0]
        of_edge, of_source, of_own, of_state = first.weight.split(self.inputs, dim=1)
        own = linear(x, of_own) + linear(state, of_state)[level.event]
        edges = linear(edges, of_edge, first.bias) + embedding(level.edge_index[0], linear(x, of_source))
        edges = self.edge[1:](edges + embedding(level.edge_index[1], own))
        received = self.propagate(level.edge_index, edges=edges, starts=level.starts, size=(len(x), len(x)))
        x = self.node(torch.cat([x, received, state[level.event]], dim=1))
        mean = segment_mean(x, level.event, len(state))
        return x, edges, self.state(torch.cat([mean, state], dim=1))

    def message(self, edges: Tensor) -> Tensor:  # type: ignore[override]
        """An edge's new features are its message."""
        return edges


class Stack(nn.Module):
    """Blocks that each read the two latent graphs before them, the inputs being the first (`concat_input`)."""

    def __init__(self, node: int, edge: int, state: int, width: int, layers: int, n_blocks: int, reducer: str) -> None:
        """Channels of the inputs; width, layers and number of blocks."""
        super().__init__()
        blocks: list[StackBlock] = []
        before, last = (0, 0, 0), (node, edge, state)
        for _ in range(n_blocks):
            n_node, n_edge, n_state = (a + b for a, b in zip(before, last, strict=True))
            blocks.append(StackBlock(n_node, n_edge, n_state, width, layers, reducer))
            before, last = last, (width, width, width)
        self.blocks = nn.ModuleList(blocks)
        self.node_width = node + n_blocks * width
        self.state_width = state + n_blocks * width

    def forward(self, x: Tensor, edges: Tensor, state: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        """(n, node_width) nodes and (B, state_width) states: the inputs and the latents of all blocks, side by side."""
        graphs = [(x, edges, state)]
        for block in self.blocks:
            joined = [torch.cat(parts, dim=1) for parts in zip(*graphs[-1:-3:-1], strict=True)]
            graphs.append(block(*joined, level))
        nodes, _, states = zip(*graphs, strict=True)
        return torch.cat(nodes, dim=1), torch.cat(states, dim=1)


class PyramidBlock(Edges):
    """Messages of one layer, their mean and maximum, and residual updates of the nodes and of the state."""

    def __init__(self, width: int, state: int) -> None:
        super().__init__(aggr=["mean", "max"])
        self.source = nn.Linear(width, width, bias=False)
        self.own = nn.Linear(width + state, width)
        self.weight = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(N_EDGE, width), mode="fan_out"))
        self.node = of_nodes((3 * width + state, width, width))
        self.state = perceptron((width + state, state))

    def forward(self, x: Tensor, state: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        """New nodes (n, width) and states (B, state)."""
        joined = torch.cat([x, state[level.event]], dim=1)
        received = self.received(self.own(joined), self.source(x), level)
        x = x + self.node(torch.cat([joined, received], dim=1))
        mean = segment_mean(x, level.event, len(state))
        return x, state + self.state(torch.cat([mean, state], dim=1))

    def received(self, own: Tensor, source: Tensor, level: Level) -> Tensor:
        """(n, 2 width) mean and maximum of the messages into each node, on a CPU in one pass over the edges."""
        if own.device.type == "cpu" and own.dtype == torch.float32:
            return mean_and_maximum(own, source, level.edges, self.weight, level.edge_index[0], level.starts)
        return self.written_out(own, source, level)

    def written_out(self, own: Tensor, source: Tensor, level: Level) -> Tensor:
        """The same on any device, with one row per edge."""
        size = (len(own), len(own))
        received: Tensor = self.propagate(
            level.edge_index, own=own, source=source, edges=level.edges, starts=level.starts, size=size
        )
        return received

    def message(self, own_i: Tensor, source_j: Tensor, edges: Tensor) -> Tensor:  # type: ignore[override]
        """(E, width), with the two nodes' shares of the layer already summed over their channels."""
        return torch.relu(own_i + source_j + edges @ self.weight)


class Pyramid(nn.Module):
    """Blocks on the points and on ever coarser graphs, then one perceptron per level on the way back."""

    def __init__(self, c: GNNConfig, n_features: int) -> None:
        super().__init__()
        self.cells = c.cells
        self.pool = MaxAggregation()
        self.enter = nn.Sequential(NodeNorm(n_features), nn.Linear(n_features, c.widths[0]))
        self.start = perceptron((2 * c.widths[0], c.state))
        self.blocks = nn.ModuleList(
            nn.ModuleList(PyramidBlock(width, c.state) for _ in range(n))
            for width, n in zip(c.widths, c.blocks, strict=True)
        )
        self.down = nn.ModuleList(of_nodes((2 * fine + 1, coarse)) for fine, coarse in pairwise(c.widths))
        outputs = (c.out, *c.widths[1:])
        self.up = nn.ModuleList(
            of_nodes((fine + from_below + 3, n_out, n_out))
            for fine, from_below, n_out in zip(c.widths, (*outputs[1:], 0), outputs, strict=True)
            if from_below
        )
        self.leave = nn.Linear(c.state, outputs[0] if c.cells else c.widths[0])
        self.width = self.leave.out_features

    def forward(self, feats: Tensor, graph: list[Level]) -> Tensor:
        """(N, width) features of points."""
        x, finest = self.enter(feats), graph[0]
        mean = segment_mean(x, finest.event, len(finest.offsets) - 1)
        state = self.start(torch.cat([mean, self.pool(x, ptr=finest.offsets, dim=-2)], dim=1))
        passed = []
        for i, level in enumerate(graph):
            for block in self.blocks[i]:  # type: ignore[attr-defined]
                x, state = block(x, state, level)
            passed.append(x)
            if level.merging is not None:
                x = self.down[i](self.merged(x, level))
        for i in reversed(range(len(graph) - 1)):
            x = self.up[i](torch.cat([passed[i], self.spread(x, graph[i], graph[i + 1], self.cells[i])], dim=1))
        return x + self.leave(state)[finest.event]

    def merged(self, x: Tensor, level: Level) -> Tensor:
        """Mean, maximum and logarithm of the number of the nodes that become one, (m, 2 width + 1)."""
        m: Any = level.merging
        mean = segment_mean(x, m.parent, len(m.starts) - 1)
        count = torch.log1p(m.starts.diff().to(x.dtype))[:, None]
        return torch.cat([mean, self.pool(x[m.order], ptr=m.starts, dim=-2), count], dim=1)

    @staticmethod
    def spread(x: Tensor, fine: Level, coarse: Level, size: float) -> Tensor:
        """For each fine node the features of its coarse one, and where it lies in it in units of `size`."""
        parent = fine.merging.parent  # type: ignore[union-attr]
        return torch.cat([embedding(parent, x), (fine.coords - coarse.coords[parent]) / size], dim=1)


class GNN(PointModel):
    """Either network, between the graph of a batch and the read-out of the task."""

    def __init__(self, config: GNNConfig, inputs: Inputs, task: Task) -> None:
        super().__init__(task)
        c = config
        self.config = c
        self.network: Pyramid | Stack
        if c.network == "pyramid":
            self.network = Pyramid(c, inputs.n_features)
            self.add_head(self.network.width)
            return
        self.network = Stack(3 + inputs.n_features, N_EDGE, 1, c.width, c.layers, c.n_blocks, c.reducer)
        width = self.network.state_width
        self.head = nn.Linear(width + (self.network.node_width if task.level == "point" else 0), task.n_outputs)

    def forward(self, batch: PointBatch) -> Tensor:
        """(N, n_outputs) scores of a point task, (B, n_outputs) of an event task."""
        if self.task.level == "event" and isinstance(self.network, Stack):
            scores: Tensor = self.head(self.latents(batch)[1])  # the publication's own read-out: of the states alone
            return scores
        return super().forward(batch)

    def features(self, batch: PointBatch) -> Tensor:
        """(N, width) features of points."""
        if isinstance(self.network, Stack):
            nodes, states = self.latents(batch)
            return torch.cat([nodes, states[batch.event_index]], dim=1)
        order = canonical(batch)
        x = self.network(batch.feats[order], self.graph(batch, order, self.config.cells))
        return embedding(torch.argsort(order), x)

    def latents(self, batch: PointBatch) -> tuple[Tensor, Tensor]:
        """Nodes (N, node_width), in the order of the points, and states (B, state_width) of the stack."""
        order = canonical(batch)
        (level,) = self.graph(batch, order, ())
        x = torch.cat([batch.normalised_coords, batch.feats], dim=1)[order]
        total = batch.energy.new_zeros(batch.n_events).index_add(0, level.event, batch.energy[order])
        state = torch.log10(total.clamp(min=1e-6))[:, None]
        nodes, states = self.network(x, level.edges, state, level)
        return embedding(torch.argsort(order), nodes), states

    def graph(self, batch: PointBatch, order: Tensor, cells: Sequence[float]) -> list[Level]:
        """Levels of the batch, its points in the given order."""
        return levels(batch.coords[order], batch.offsets, batch.event_index, cells, self.search)

    def search(self, coords: Tensor, offsets: Tensor, size: float) -> Tensor:
        """Edges between nodes of the given size."""
        c = self.config
        if c.graph == "knn":
            return knn_graph(coords, offsets, c.k)
        return radius_graph(coords, offsets, c.radius * size, c.k)


def build(config: GNNConfig, inputs: Inputs, task: Task) -> GNN:
    """The model for given inputs and task."""
    return GNN(config, inputs, task)


_TINY: dict[str, Any] = {
    "k": 4, "cells": (6.0,), "widths": (8, 12), "blocks": (1, 1), "state": 8, "out": 8,
    "n_blocks": 2, "width": 8, "layers": 2,
}  # fmt: skip
# the rate from the search on validation events, on which the score hardly depends
_OPTIM: dict[str, Any] = {"lr": 1e-3, "weight_decay": 1e-4}

SPEC = ModelSpec(
    name="gnn",
    summary="Graph network: messages between neighbours at several scales, and a state of the event (PyG)",
    config=GNNConfig,
    build=build,
    presets={
        "default": Preset(optim=_OPTIM),
        "tiny": Preset(model=_TINY, optim=_OPTIM),
        "paper": Preset(
            model={"network": "stack", "k": 4, "reducer": "sum"},
            optim={"lr": 1e-3, "weight_decay": 0.0, "warmup_fraction": 0.0, "schedule": "constant", "clip_norm": 0.0},
        ),
    },
    levels=("point", "event"),
    reference="arXiv:1806.01261; ATL-PHYS-PUB-2022-040 and gn4pions",
    extras=("torch_geometric",),
)
