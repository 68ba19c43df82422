"""Graph network: messages along the edges of a graph of neighbours, and a state of the whole event.

A block updates edges, then nodes, then the state of the event (Battaglia et al., "Relational inductive biases, deep
learning, and graph networks", arXiv:1806.01261, section 3.2). Two networks are made of such blocks:

- `stack` (preset `paper`): four blocks as in the ATLAS study of single pions (ATL-PHYS-PUB-2022-040 and its public code
  gn4pions), perceptrons of 4 x 64 for edges, nodes and state, each block reading the two latent graphs before it. With
  that study's inputs (7 per node, 10 per edge, 1 per graph) and read-outs it has the published 333,063 parameters. Its
  graphs are neighbouring cells; on points it takes the study's variant of 4 nearest neighbours and sums.
- `pyramid` (preset `default`): residual blocks on the points, then on nodes for larger and larger cubes, and
  back. Coarse edges and the state carry long-range information.

On a calorimeter's clusters `paper` is that study's multi-task network with its own inputs and loss (`_graph_pions`).
For tasks of points it is the stack on the same graph of cells, with the suite's columns. `default` stays a pyramid on
nearest neighbours. Kinds of links distinguish previous and next in eta and phi. Reflections of the training data change
coordinates, not kinds, so `graph=cells` needs train.rotation=none.

Layers are PyTorch Geometric's; the graphs are our own (`benchmark.ops.graphs`), since its search needs a compiled
package. Points are first sorted by their coordinates, so that the storage order changes no sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from benchmark.contracts import Inputs, Model, ModelSpec, Preset, Task

REDUCERS = ("sum", "mean", "max")


@dataclass(frozen=True)
class GNNConfig:
    """The graph, and the network on it."""

    network: str = "pyramid"  # pyramid: ever coarser graphs and back | stack: blocks on the points' graph (published)
    # knn: the k nearest | radius: those of the k nearest that lie within `radius` | cells: neighbours as the detector
    # is built; points without any (hits of tracks) are joined with their k nearest, as a separate kind
    graph: str = "knn"
    inputs: str = "features"  # features: the columns of the data | published: of the stack on clusters, by that study
    unit: float = 0.0  # coordinates over this length are inputs too; 0: none (pyramid), in the unit ball (stack)
    k: int = 8  # nodes that a node receives messages from, at most
    radius: float = 4.0  # in coordinate units on the points; on coarser levels in units of the cube's edge
    # the pyramid
    cells: tuple[float, ...] = (4.0, 12.0, 36.0)  # edges of the cubes that merge nodes, in coordinate units
    widths: tuple[int, ...] = (32, 64, 96, 128)  # channels of a node: of the points, then of each level of cubes
    blocks: tuple[int, ...] = (1, 1, 2, 2)  # blocks of each of these levels
    state: int = 32  # channels of the event's state
    out: int = 48  # features of a point for the head
    # the stack
    n_blocks: int = 4  # blocks, one after the other
    width: int = 64  # channels of nodes, edges and state
    layers: int = 4  # of each perceptron
    reducer: str = "mean"  # how a node sums up the edges that it receives: sum | mean | max
    energy_share: float = 0.75  # weight of the energy's error in the published loss; the rest is the type's

    def __post_init__(self) -> None:
        for name in ("k", "state", "out", "n_blocks", "width", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is not possible. A number from 1 on was expected.")
        choices = {
            "network": ("pyramid", "stack"), "graph": ("knn", "radius", "cells"), "reducer": REDUCERS,
            "inputs": ("features", "published"),
        }  # fmt: skip
        for name, valid in choices.items():
            value = getattr(self, name)
            if value not in valid:
                raise ValueError(f"{name}={value!r} is not known. One of {', '.join(valid)} was expected.")
        if not self.radius > 0:
            raise ValueError(f"radius={self.radius} is not possible. A length above 0 was expected.")
        if not (self.unit >= 0 and 0 < self.energy_share <= 1):
            raise ValueError(
                f"unit={self.unit} with energy_share={self.energy_share} is not possible. A length from 0 on, and a "
                f"share above 0 and up to 1, were expected."
            )
        if self.inputs == "published" and (self.network, self.graph) != ("stack", "cells"):
            raise ValueError(
                f"inputs=published with network={self.network} and graph={self.graph} is not possible. network=stack "
                f"and graph=cells were expected."
            )
        if any(not a < b for a, b in pairwise((0.0, *self.cells))):
            raise ValueError(f"cells={self.cells} is not possible. Lengths above 0 that rise were expected.")
        for name in ("widths", "blocks"):
            value = getattr(self, name)
            if len(value) != len(self.cells) + 1 or min(value) < 1:
                raise ValueError(
                    f"{name}={value} is not possible. A number from 1 on for the points and for each of the "
                    f"{len(self.cells)} cells was expected."
                )


def build(config: GNNConfig, inputs: Inputs, task: Task) -> Model:
    """The model for given inputs and task; it imports PyTorch Geometric."""
    from ._graph_model import GNN

    return GNN(config, inputs, task)


_TINY: dict[str, Any] = {
    "k": 4, "cells": (6.0,), "widths": (8, 12), "blocks": (1, 1), "state": 8, "out": 8,
    "n_blocks": 2, "width": 8, "layers": 2,
}  # fmt: skip
# the rate from the search on validation events, on which the score hardly depends
_OPTIM: dict[str, Any] = {"lr": 1e-3, "weight_decay": 1e-4}

# Neighbours in EMB2 are 1 unit apart, its layers 4.5 in depth, cells of the tile calorimeter 4 and 12.
_CALORIMETER: dict[str, Any] = {
    "k": 8, "cells": (3.0, 12.0), "widths": (32, 64, 96), "blocks": (2, 2, 2), "unit": 8.0,
}  # fmt: skip

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
    has_point_features=True,
    kinds=("classification", "regression"),
    detector_presets={
        "calorimeter": {
            "default": Preset(model=_CALORIMETER, optim={"lr": 3e-3}),  # from the search on validation clusters
            "tiny": Preset(model={"unit": 8.0}),
            "paper": Preset(
                model={"graph": "cells", "inputs": "published", "reducer": "mean", "unit": 8.0},
                # The rate falls by 10 every 2 of 10 epochs there; here as a cosine over the same steps, to as little.
                optim={"optimiser": "adam", "schedule": "cosine", "final_lr_fraction": 1e-4},
                train={"rotation": "none", "batch_size": 1024, "steps": 5490},  # 10 epochs of 549 batches
            ),
        }
    },
    reference="arXiv:1806.01261; ATL-PHYS-PUB-2022-040 and gn4pions",
    extras=("torch_geometric",),
)
