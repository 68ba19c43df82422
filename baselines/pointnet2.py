"""PointNet++: small PointNets on balls around fewer and fewer centres, and interpolation back to all points.

Qi et al., "PointNet++: Deep Hierarchical Feature Learning on Point Sets in a Metric Space", NeurIPS 2017
(arXiv:1706.02413). Set abstraction (section 3.2): farthest points as centres, points in a ball around each, a shared
network on [relative position / radius, features] and a maximum. Feature propagation (section 3.4): inverse squared
distances to the 3 nearest centres, the finer level's own features, a network per point.

`paper` is the single-scale network for scenes of supplementary B.1: SA(1024, 0.1, [32, 32, 64]), SA(256, 0.2,
[64, 64, 128]), SA(64, 0.4, [128, 128, 256]), SA(16, 0.8, [256, 256, 512]), FP(256, 256), FP(256, 256), FP(256, 128),
FP(128, 128, 128, 128, K), with 32 points per ball and dropout of 50% before the scores, from the authors' code; Adam at
0.001. Its radii are metres in scenes cut to cubes of 1.5 m; here they are lengths in the unit ball of the detector,
which has nearly the same size: 0.1 is 66.5 voxels of a frame of 768. Event tasks use the suite's pooled head.

`default` has radii fit for tracks 1 voxel wide, and centres in proportion to the points. Three differences to the
authors' code make scores depend on the event alone: points are sorted before any search; the first centre is the point
farthest from the centroid; and a ball with too many points is thinned evenly along that order, where theirs takes the
first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmark.contracts import Inputs, ModelSpec, PointBatch, Preset, Task
from benchmark.contracts.heads import PointModel

from ._perceptron import shared
from ._pointnet2 import Level, canonical_order, hierarchy
from ._sets import inverse


@dataclass(frozen=True)
class PointNet2Config:
    """Levels from fine to coarse; one entry per level in the first four."""

    centres: tuple[float, ...] = (0.25, 0.25, 0.25, 0.25)  # below 1: a share of the level before, else a number
    radii: tuple[float, ...] = (5.0, 15.0, 45.0, 135.0)  # of the balls, in `radius_unit`
    down: tuple[tuple[int, ...], ...] = ((32, 64), (64, 128), (128, 256), (256, 256))  # networks on balls
    up: tuple[tuple[int, ...], ...] = ((64, 64), (128, 128), (128, 128), (256, 256))  # after interpolation, fine first
    radius_unit: str = "coordinate"  # coordinate: that of the data, voxels | ball: radius of the detector's unit ball
    n_neighbours: int = 16  # points per ball; a fuller one is thinned
    dropout: float = 0.0  # before the scores
    unit: float = 0.0  # coordinates over this length are features of the points too; 0: only relative positions are

    def __post_init__(self) -> None:
        n_levels = len(self.centres)
        for name in ("radii", "down", "up"):
            if len(getattr(self, name)) != n_levels or not n_levels:
                raise ValueError(
                    f"{name} has {len(getattr(self, name))} levels, centres {n_levels}. Equal numbers from 1 on were "
                    f"expected."
                )
        for name in ("centres", "radii"):
            if not min(getattr(self, name)) > 0:
                raise ValueError(f"{name}={getattr(self, name)} is not possible. Numbers above 0 were expected.")
        if self.radius_unit not in ("coordinate", "ball"):
            raise ValueError(f"radius_unit={self.radius_unit!r} is not known. One of coordinate, ball was expected.")
        if not self.unit >= 0:
            raise ValueError(f"unit={self.unit} is not possible. A length from 0 on was expected.")
        if self.n_neighbours < 1:
            raise ValueError(f"n_neighbours={self.n_neighbours} is not possible. A number from 1 on was expected.")


class SetAbstraction(nn.Module):
    """A shared network on the points of each ball, and its maximum.

    The first layer is linear in [relative position, features]: its second part is computed once per point.
    """

    def __init__(self, n_in: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.from_place = nn.Linear(3, widths[0], bias=False)
        self.from_features = nn.Linear(n_in, widths[0], bias=False)
        self.enter = nn.Sequential(nn.BatchNorm1d(widths[0]), nn.ReLU())
        self.rest = shared(widths)

    def forward(self, x: Tensor, level: Level) -> Tensor:
        """(M, widths[-1]) features of centres from those of the finer level's points, (N, n_in)."""
        members = gather(self.from_features(x), level.members.flatten())
        inside = self.rest(self.enter(self.from_place(level.relative) + members))  # (M K, widths[-1])
        best: Tensor = inside.view(*level.members.shape, -1).amax(dim=1)
        return best


class FeaturePropagation(nn.Module):
    """Features of centres at the finer points by interpolation, joined with the points' own, then a network.

    Interpolation and the first layer are both linear, so that the layer is applied to the fewer centres.
    """

    def __init__(self, n_coarse: int, n_fine: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.from_coarse = nn.Linear(n_coarse, widths[0], bias=False)
        self.from_fine = nn.Linear(n_fine, widths[0], bias=False)
        self.enter = nn.Sequential(nn.BatchNorm1d(widths[0]), nn.ReLU())
        self.rest = shared(widths)

    def forward(self, coarse: Tensor, fine: Tensor, level: Level) -> Tensor:
        """(N, widths[-1]) from features of centres (M, n_coarse) and of points (N, n_fine)."""
        mapped = self.from_coarse(coarse)
        near = gather(mapped, level.nearest.flatten()).view(*level.nearest.shape, -1)  # (N, 3, widths[0])
        interpolated = torch.bmm(level.weights[:, None], near).squeeze(1)
        joined: Tensor = self.rest(self.enter(interpolated + self.from_fine(fine)))
        return joined


def gather(x: Tensor, rows: Tensor) -> Tensor:
    """x[rows]; as an embedding, whose gradient is summed row by row."""
    return nn.functional.embedding(rows, x)


class Hierarchy(NamedTuple):
    """The levels of a batch."""

    order: Tensor  # (N,) rows of the batch in canonical order
    levels: list[Level]  # from fine to coarse, of points in that order


class PointNet2(PointModel):
    """Set abstraction down, feature propagation up, and the shared head."""

    def __init__(self, config: PointNet2Config, inputs: Inputs, task: Task) -> None:
        super().__init__(task)
        self.config = config
        c = config
        inputs = self.expand_inputs(inputs, c.unit)
        widths = (inputs.n_features, *(w[-1] for w in c.down))  # of each level, the points themselves first
        above = (*(w[-1] for w in c.up[1:]), widths[-1])  # widths from the coarser level
        self.down = nn.ModuleList(SetAbstraction(n, w) for n, w in zip(widths[:-1], c.down, strict=True))
        self.up = nn.ModuleList(
            FeaturePropagation(n_coarse, n_fine, w)
            for n_coarse, n_fine, w in zip(above, widths[:-1], c.up, strict=True)
        )
        self.dropout = nn.Dropout(c.dropout)
        self.add_head(c.up[0][-1])

    def prepare(self, batch: PointBatch, stage: str, generator: torch.Generator) -> Any:
        """The hierarchy."""
        return self.hierarchy(batch)

    def hierarchy(self, batch: PointBatch) -> Hierarchy:
        """The hierarchy of a batch."""
        if isinstance(batch.prepared, Hierarchy):
            return batch.prepared
        c, order = self.config, canonical_order(batch)
        radii = [r * (1.0 if c.radius_unit == "coordinate" else 1.0 / batch.frame.scale) for r in c.radii]
        return Hierarchy(order, hierarchy(batch.coords[order], batch.lengths, c.centres, radii, c.n_neighbours))

    def features(self, batch: PointBatch) -> Tensor:
        """(N, width) features of points."""
        order, levels = self.hierarchy(batch)
        stack = [batch.feats[order]]
        for module, level in zip(self.down, levels, strict=True):
            stack.append(module(stack[-1], level))
        x = stack.pop()
        for module, level in zip(reversed(self.up), reversed(levels), strict=True):
            x = module(x, stack.pop(), level)
        features: Tensor = self.dropout(x.index_select(0, inverse(order)))
        return features


def build(config: PointNet2Config, inputs: Inputs, task: Task) -> PointNet2:
    """The model for given inputs and task."""
    return PointNet2(config, inputs, task)


SPEC = ModelSpec(
    name="pointnet2",
    summary="PointNets on balls around farthest points, level by level, and back (Qi et al. 2017)",
    config=PointNet2Config,
    build=build,
    presets={
        "default": Preset(optim={"lr": 3e-3, "weight_decay": 1e-4}),
        "tiny": Preset(
            model={
                "centres": (0.25, 0.25), "radii": (5.0, 20.0), "down": ((8, 16), (16, 16)), "up": ((16,), (16,)),
                "n_neighbours": 8,
            },
            optim={"lr": 4e-3, "weight_decay": 1e-4},
        ),
        "paper": Preset(
            model={
                "centres": (1024, 256, 64, 16), "radii": (0.1, 0.2, 0.4, 0.8), "radius_unit": "ball",
                "down": ((32, 32, 64), (64, 64, 128), (128, 128, 256), (256, 256, 512)),
                "up": ((128, 128, 128, 128), (256, 128), (256, 256), (256, 256)), "n_neighbours": 32, "dropout": 0.5,
            },
            optim={"lr": 1e-3, "weight_decay": 0.0, "warmup_fraction": 0.0, "clip_norm": 0.0},
            train={"batch_size": 32},
        ),
    },
    levels=("point", "event"),
    has_point_features=True,
    kinds=("classification", "regression"),
    detector_presets={
        "calorimeter": {
            "default": Preset(
                model={
                    "centres": (0.5, 0.25, 0.25), "radii": (1.5, 5.0, 15.0), "down": ((32, 64), (64, 128), (128, 192)),
                    "up": ((64, 64), (128, 128), (192, 192)), "n_neighbours": 12, "unit": 8.0,
                },
                optim={"lr": 1e-3},  # the rate from the search on validation clusters
            ),
            "tiny": Preset(model={"radii": (2.0, 8.0), "unit": 8.0}),
            # the published sizes; a scene of 1.5 m becomes the ball of a cluster
            "paper": Preset(
                model={"radii": (1.5, 3.0, 6.0, 12.0), "radius_unit": "coordinate", "centres": (0.5, 0.5, 0.25, 0.25)}
            ),
        }
    },
    reference="arXiv:1706.02413, section 3, supplementary B.1",
)  # fmt: skip
