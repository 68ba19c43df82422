"""The two graph networks: a stack of blocks that read each other's latents, and a pyramid of coarser graphs.

Battaglia et al. (arXiv:1806.01261), section 3.2; their use is described in `gnn`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.aggr import MaxAggregation

from benchmark.ops.batch_norm import BatchNorm1d
from benchmark.ops.segments import segment_mean

from ._graph import N_EDGE, Level
from ._graph_messages import mean_and_maximum


class NodeNorm(BatchNorm1d):
    """Batch norm of nodes: it removes the nodes' common mean, unlike a norm over channels.

    A single row has no variance; it is normed as in evaluation.
    """


def node_layers(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers, each with a norm over nodes and a ReLU."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out, bias=False), NodeNorm(n_out), nn.ReLU()]
    return nn.Sequential(*layers)


def perceptron(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers, each with a ReLU, then a norm over channels: rows are independent."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.LayerNorm(widths[-1]))


class Edges(MessagePassing):
    """Messages along edges that are sorted by destination, reduced by segments: no scattering, deterministic."""

    def aggregate(self, inputs: Tensor, index: Tensor, starts: Tensor) -> Tensor:  # type: ignore[override]
        """(n, C) from messages (E, C)."""
        received: Tensor = self.aggr_module(inputs, ptr=starts, dim=self.node_dim)
        return received


class StackBlock(Edges):
    """One block of the stack: edges, nodes and state, each updated by a perceptron.

    The first layer of the edges acts on each node once instead of once per edge, with the same result.
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
        previous, last = (0, 0, 0), (node, edge, state)
        for _ in range(n_blocks):
            n_node, n_edge, n_state = (a + b for a, b in zip(previous, last, strict=True))
            blocks.append(StackBlock(n_node, n_edge, n_state, width, layers, reducer))
            previous, last = last, (width, width, width)
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
        self.node = node_layers((3 * width + state, width, width))
        self.state = perceptron((width + state, state))

    def forward(self, x: Tensor, state: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        """New nodes (n, width) and states (B, state)."""
        joined = torch.cat([x, state[level.event]], dim=1)
        received = self.aggregate_messages(self.own(joined), self.source(x), level)
        x = x + self.node(torch.cat([joined, received], dim=1))
        mean = segment_mean(x, level.event, len(state))
        return x, state + self.state(torch.cat([mean, state], dim=1))

    def aggregate_messages(self, own: Tensor, source: Tensor, level: Level) -> Tensor:
        """(n, 2 width) mean and maximum of the messages into each node, on a CPU in one pass over the edges."""
        if own.device.type == "cpu" and own.dtype == torch.float32:
            return mean_and_maximum(own, source, level.edges, self.weight, level.edge_index[0], level.starts)
        return self.propagate_messages(own, source, level)

    def propagate_messages(self, own: Tensor, source: Tensor, level: Level) -> Tensor:
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
    """Blocks on the points and on coarser graphs, then one perceptron per level back to the points."""

    def __init__(self, c: Any, n_features: int) -> None:
        """`c`: the `GNNConfig`."""
        super().__init__()
        self.cells = c.cells
        self.pool = MaxAggregation()
        self.enter = nn.Sequential(NodeNorm(n_features), nn.Linear(n_features, c.widths[0]))
        self.start = perceptron((2 * c.widths[0], c.state))
        self.blocks = nn.ModuleList(
            nn.ModuleList(PyramidBlock(width, c.state) for _ in range(n))
            for width, n in zip(c.widths, c.blocks, strict=True)
        )
        self.down = nn.ModuleList(node_layers((2 * fine + 1, coarse)) for fine, coarse in pairwise(c.widths))
        outputs = (c.out, *c.widths[1:])
        self.up = nn.ModuleList(
            node_layers((fine + from_below + 3, n_out, n_out))
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
        skips = []
        for i, level in enumerate(graph):
            for block in self.blocks[i]:  # type: ignore[attr-defined]
                x, state = block(x, state, level)
            skips.append(x)
            if level.merging is not None:
                x = self.down[i](self.merged(x, level))
        for i in reversed(range(len(graph) - 1)):
            x = self.up[i](torch.cat([skips[i], self.spread(x, graph[i], graph[i + 1], self.cells[i])], dim=1))
        return x + self.leave(state)[finest.event]

    def merged(self, x: Tensor, level: Level) -> Tensor:
        """Mean, maximum and logarithm of the number of the nodes that become one, (m, 2 width + 1)."""
        m: Any = level.merging
        mean = segment_mean(x, m.parent, len(m.starts) - 1)
        count = torch.log1p(m.starts.diff().to(x.dtype))[:, None]
        return torch.cat([mean, self.pool(x[m.order], ptr=m.starts, dim=-2), count], dim=1)

    @staticmethod
    def spread(x: Tensor, fine: Level, coarse: Level, size: float) -> Tensor:
        """For each fine node the features of its coarse node and its position relative to it, in units of `size`."""
        parent = fine.merging.parent  # type: ignore[union-attr]
        return torch.cat([embedding(parent, x), (fine.coords - coarse.coords[parent]) / size], dim=1)
