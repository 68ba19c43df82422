"""The graph network of `gnn`: graphs of a batch, one of the networks, and the read-out of the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from benchmark.contracts import Inputs, PointBatch, Task
from benchmark.contracts.heads import PointModel, with_hidden
from benchmark.ops.graphs import knn_graph, radius_graph

from ._graph import N_EDGE, Level, canonical, levels
from ._graph_cells import N_KINDS, cell_edges, cell_level
from ._graph_networks import Pyramid, Stack
from ._graph_pions import N_GLOBAL, N_NODE, PionNetwork, published_loss
from ._sets import inverse


class Graphs(NamedTuple):
    """The graph of a batch."""

    order: Tensor  # (N,) rows of the batch in canonical order
    levels: list[Level]  # from fine to coarse, of points in that order


class GNN(PointModel):
    """Either network, between the graph of a batch and the read-out of the task."""

    def __init__(self, config: Any, inputs: Inputs, task: Task) -> None:
        """config: the `GNNConfig`."""
        super().__init__(task)
        c = config
        self.config = c
        self.network: Pyramid | Stack | PionNetwork
        if c.inputs == "published" and task.sample in N_GLOBAL:
            stack = Stack(N_NODE, N_KINDS, N_GLOBAL[task.sample], c.width, c.layers, c.n_blocks, c.reducer)
            self.network = PionNetwork(stack, stack.state_width, task.sample)
            return
        n_state = 1 + inputs.n_event_features
        inputs = self.expand_inputs(inputs, c.unit if c.network == "pyramid" else 0.0)
        if c.network == "pyramid":
            self.network = Pyramid(c, inputs.n_features)
            self.add_head(self.network.width)
            return
        n_edge = N_KINDS + 1 if c.graph == "cells" else N_EDGE
        self.network = Stack(3 + inputs.n_features, n_edge, n_state, c.width, c.layers, c.n_blocks, c.reducer)
        width = self.network.state_width
        self.feature_width = width + self.network.node_width
        self.head = nn.Linear(self.feature_width if task.level == "point" else width, task.n_outputs)

    def forward(self, batch: PointBatch) -> Tensor:
        """(N, n_outputs) scores of a point task, (B, n_outputs) of an event task."""
        if isinstance(self.network, PionNetwork):
            return self.task_outputs(batch, *self.network(batch))
        if self.task.level == "event" and isinstance(self.network, Stack):
            _, states = self.latents(with_hidden(batch, self.columns))
            scores: Tensor = self.head(states)  # the publication's own read-out
            return scores
        return super().forward(batch)

    def task_outputs(self, batch: PointBatch, energy: Tensor, logit: Tensor) -> Tensor:
        """Outputs for the task from (B,) each: (B, 1) log10 E minus the baseline, or (B, 2) with 0 for neutral."""
        if self.task.kind == "regression":
            return (energy if batch.whole.baseline is None else energy - batch.whole.baseline)[:, None]
        return torch.stack([torch.zeros_like(logit), logit], dim=1)

    def finetune_loss(self, batch: PointBatch) -> tuple[Tensor, Tensor]:
        """The task's loss, and the scores; for the published network the loss of both its outputs."""
        if not isinstance(self.network, PionNetwork):
            return super().finetune_loss(batch)
        energy, logit = self.network(batch)
        target: Any = batch.target
        is_regression = self.task.kind == "regression"
        true = target if is_regression else batch.label("log_true_energy")
        charged = batch.label("pion") if is_regression else target
        loss = published_loss(energy, logit, true, charged, self.config.energy_share)
        return loss, self.task_outputs(batch, energy, logit)

    def features(self, batch: PointBatch) -> Tensor:
        """(N, width) features of points."""
        if isinstance(self.network, Stack):
            nodes, states = self.latents(batch)
            return torch.cat([nodes, states[batch.event_index]], dim=1)
        order, graph_levels = self.graphs(batch)
        x: Tensor = self.network(batch.feats[order], graph_levels)
        return embedding(inverse(order), x)

    def latents(self, batch: PointBatch) -> tuple[Tensor, Tensor]:
        """Nodes (N, node_width), in the order of the points, and states (B, state_width) of the stack."""
        c, (order, (level,)) = self.config, self.graphs(batch)
        positions = batch.normalised_coords / (c.unit * batch.frame.scale) if c.unit else batch.normalised_coords
        x = torch.cat([positions, batch.feats], dim=1)[order]
        total = batch.energy.new_zeros(batch.n_events).index_add(0, level.event, batch.energy[order])
        state = torch.log10(total.clamp(min=1e-6))[:, None]
        if batch.whole.feats is not None:
            state = torch.cat([state, batch.whole.feats], dim=1)
        nodes, states = self.network(x, level.edges, state, level)
        return embedding(inverse(order), nodes), states

    def prepare(self, batch: PointBatch, stage: str, generator: torch.Generator) -> Any:
        """The graph; the published network builds its own."""
        return None if isinstance(self.network, PionNetwork) else self.graphs(batch)

    def graphs(self, batch: PointBatch) -> Graphs:
        """The graph of a batch, of one level for the stack."""
        if isinstance(batch.prepared, Graphs):
            return batch.prepared
        c, order = self.config, canonical(batch)
        if isinstance(self.network, Stack) and c.graph == "cells":
            return Graphs(order, [cell_level(batch, order, c.k)])
        return Graphs(order, self.graph(batch, order, c.cells if isinstance(self.network, Pyramid) else ()))

    def graph(self, batch: PointBatch, order: Tensor, cells: Sequence[float]) -> list[Level]:
        """Levels of the batch, its points in the given order."""
        links = cell_edges(batch, order, self.config.k)[0] if self.config.graph == "cells" else None

        def search(coords: Tensor, offsets: Tensor, size: float) -> Tensor:
            return links if links is not None and len(coords) == len(order) else self.search(coords, offsets, size)

        return levels(batch.coords[order], batch.offsets, batch.event_index, cells, search)

    def search(self, coords: Tensor, offsets: Tensor, size: float) -> Tensor:
        """Edges between nodes of the given size."""
        c = self.config
        if c.graph == "radius":
            return radius_graph(coords, offsets, c.radius * size, c.k)
        return knn_graph(coords, offsets, c.k)
