"""PointNet: a shared network per point and one maximum over the event, concatenated for every point.

Qi et al., "PointNet: Deep Learning on Point Sets for 3D Classification and Segmentation", CVPR 2017 (arXiv:1612.00593).
Followed under `paper`: T-Nets for coordinates and for the 64 features, made of 64-128-1024, a maximum and 512-256,
starting at the identity; the penalty of equation 2 with weight 0.001; figure 2's widths 64-64 | 64-128-1024, then
512-256-128-128 per point, or 512-256 with dropout 0.3 per event; Adam at 0.001, 32 sets per step (section 4,
supplementary C). Their schedules are simplified: theirs halve the learning rate every 20 epochs (here a cosine),
and move the batch norm's momentum from 0.5 to 0.01 (here 0.1).

For points, the publication cuts scenes into blocks of 1 m, a sixth of a room's side, and labels each block separately
from coordinates in the block, colours, and the position in the room (section 5.1). Here: cubes of 128 voxels, a sixth
of the detector; coordinates in the cube, energy, and the position in the event. For events, coordinates are normalised
to the unit sphere, as objects are there.

`default` is smaller, has smaller blocks, and gets positions as waves too: tracks are 1 voxel wide, which a network on
coordinates alone hardly resolves (Tancik et al., arXiv:2006.10739). It has no local context: a point gets information
on others only through one maximum over its block.

For calorimeters `paper` has the sizes with which cells were associated with tracks (public code JetPointNet, smallest
version): T-Nets of 64-128-1024, 96-96 | 128-256-1024 channels, 512-256-128 per point with dropout 0.3 on the last
layer, penalty 0.001; about 5 million parameters. There samples are padded to 800 points; here nothing is. The first
T-Net turns the three coordinates; theirs are in mm and scaled to each sample's own box, which hides how large a sample
is, ours are about the track's axis. Loss and weights are the task's. Of the learning rates there (0.04 falling by 1% an
epoch; 0.001 for tuning) it is the lower one, here as a cosine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.contracts import Inputs, ModelSpec, PointBatch, Preset, Task
from benchmark.contracts.heads import append_event_columns, with_event_feats, with_hidden
from benchmark.contracts.torch_model import TorchModel
from benchmark.ops.segments import segment_max

from ._perceptron import shared
from ._sets import Sets, check_waves, cubes, inverse, waves, whole_events


@dataclass(frozen=True)
class PointNetConfig:
    """Widths and parts."""

    local: tuple[int, ...] = (64, 64)  # shared network before the feature transform
    wide: tuple[int, ...] = (64, 192)  # shared network before the maximum
    head: tuple[int, ...] = (128, 64)  # network on [local, global] features of a point
    event_head: tuple[int, ...] = (128, 128)  # network on the global features of an event
    block: float = 64.0  # of point tasks: side of the cubes that are separate sets; 0: the whole event is one set
    waves: int = 8  # sines and cosines of each coordinate, with wavelengths in geometric progression; 0: none
    wavelengths: tuple[float, float] = (4.0, 128.0)  # shortest and longest, in coordinate units
    # of whole events: coordinates are about the frame's centre, over this length; 0: about the centroid, over the
    # distance of the farthest point, which hides where a frame's axis is
    unit: float = 0.0
    transform: tuple[int, ...] = (32, 64)  # shared network of a T-Net; two layers of 1/2 and 1/4 follow
    input_transform: bool = True  # T-Net that turns the coordinates
    feature_transform: bool = True  # T-Net that turns the local features
    transform_penalty: float = 0.001  # weight of ||I - A A^T||^2, equation 2
    dropout: float = 0.0  # of event tasks, before the last layer
    point_dropout: float = 0.0  # of point tasks, on the last layer before the scores
    event_norm: str = "layer"  # norm of layers with one row per event: layer | batch (published; needs 2 events)

    def __post_init__(self) -> None:
        check_waves(self.waves, self.wavelengths)
        if not self.unit >= 0:
            raise ValueError(f"unit={self.unit} is not possible. A length from 0 on was expected.")
        if not self.block >= 0:
            raise ValueError(f"block={self.block} is not possible. A length from 0 on was expected.")
        if self.event_norm not in ("layer", "batch"):
            raise ValueError(f"event_norm={self.event_norm!r} is not known. One of layer, batch was expected.")


def per_event(widths: tuple[int, ...], norm: str) -> nn.Sequential:
    """Linear, norm and ReLU per row, for rows that are events."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out) if norm == "batch" else nn.LayerNorm(n_out), nn.ReLU()]
    return nn.Sequential(*layers)


class TNet(nn.Module):
    """A k x k matrix per event from its points, the identity at the start (supplementary C)."""

    def __init__(self, k: int, wide: tuple[int, ...], norm: str) -> None:
        super().__init__()
        self.k = k
        self.points = shared((k, *wide))
        self.event = per_event((wide[-1], wide[-1] // 2, wide[-1] // 4), norm)
        self.out = nn.Linear(wide[-1] // 4, k * k)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(B, k, k) from x (N, k), whose rows belong to B events of the given lengths (B,)."""
        pooled = segment_max(self.points(x), lengths)
        matrix = self.out(self.event(pooled)).view(len(lengths), self.k, self.k)
        return matrix + torch.eye(self.k, dtype=matrix.dtype, device=matrix.device)


class Join(nn.Module):
    """The first layer on [local, global] features: one linear map, norm and ReLU.

    The global part is the same for all points of an event, and is mapped once per event.
    """

    def __init__(self, n_local: int, n_global: int, n_out: int) -> None:
        super().__init__()
        self.from_local = nn.Linear(n_local, n_out, bias=False)
        self.from_global = nn.Linear(n_global, n_out, bias=False)
        self.rest = nn.Sequential(nn.BatchNorm1d(n_out), nn.ReLU())

    def forward(self, local: Tensor, pooled: Tensor, event: Tensor) -> Tensor:
        """(N, n_out) from features of points (N, n_local), of events (B, n_global), and each point's event (N,)."""
        joined: Tensor = self.rest(self.from_local(local) + self.from_global(pooled).index_select(0, event))
        return joined


class PointNet(TorchModel):
    """Segmentation form for point tasks, classification form for event tasks."""

    def __init__(self, config: PointNetConfig, inputs: Inputs, task: Task) -> None:
        super().__init__(task)
        self.config = config
        c = config
        of_points = task.level == "point"
        self.columns = inputs.columns
        self.feature_width = c.head[-1] if of_points else c.wide[-1]
        self.n_event_features = inputs.n_event_features
        n_features = inputs.n_features + (inputs.n_event_features if of_points else 0)
        self.input_net = TNet(3, c.transform, c.event_norm) if c.input_transform else None
        n_coords = 6 if of_points and c.block else 3  # in the set, and of the point in the event
        self.local = shared((n_coords + 6 * c.waves + n_features, *c.local))
        self.feature_net = TNet(c.local[-1], c.transform, c.event_norm) if c.feature_transform else None
        self.wide = shared((c.local[-1], *c.wide))
        self.dropout = nn.Dropout(c.point_dropout)
        if of_points:
            self.join = Join(c.local[-1], c.wide[-1], c.head[0])
            self.head = shared(c.head)
            self.out: nn.Module = nn.Linear(c.head[-1], task.n_outputs)
        else:
            self.head = per_event((c.wide[-1] + inputs.n_event_features, *c.event_head), c.event_norm)
            self.out = nn.Sequential(nn.Dropout(c.dropout), nn.Linear(c.event_head[-1], task.n_outputs))

    def forward(self, batch: PointBatch) -> Tensor:
        """(N, C) scores of a point task, (B, C) of an event task."""
        return self.penalised(batch)[0]

    def backbone(self) -> Iterable[nn.Module]:
        """All modules of a point task but the last map; of an event task those before the maximum."""
        after = ("out", "dropout") if self.task.level == "point" else ("out", "dropout", "head")
        return [module for name, module in self.named_children() if name not in after]

    def point_features(self, batch: PointBatch) -> Tensor:
        """(N, width) features of points: for a point task those of the last map, else those before the maximum."""
        sets = self._sets(batch)
        local, _ = self._local(sets)
        wide = self.wide(local)
        if self.task.level == "point":
            wide = self.head(self.join(local, segment_max(wide, sets.lengths), sets.index))
        return wide.index_select(0, inverse(sets.order))

    def finetune_loss(self, batch: PointBatch) -> tuple[Tensor, Tensor]:
        """The task's loss with the orthogonality penalty of the feature transform, and the scores."""
        scores, penalty = self.penalised(batch)
        loss = self.loss(batch, scores)
        return loss if penalty is None else loss + self.config.transform_penalty * penalty, scores

    def penalised(self, batch: PointBatch) -> tuple[Tensor, Tensor | None]:
        """Scores as `forward` gives them, and the scalar of equation 2, or None without a feature transform."""
        sets = self._sets(batch)
        if self.task.level == "event":
            return self._scores(sets, batch.whole.feats)
        scores, penalty = self._scores(sets, None)
        return scores.index_select(0, inverse(sets.order)), penalty

    def _sets(self, batch: PointBatch) -> Sets:
        """Whole events, or the cubes of a point task."""
        c, of_points = self.config, self.task.level == "point"
        batch = append_event_columns(with_hidden(batch, self.columns), of_points and self.n_event_features > 0)
        return cubes(batch, c.block) if of_points and c.block else whole_events(batch, c.unit or "farthest")

    def _local(self, sets: Sets) -> tuple[Tensor, Tensor | None]:
        """(N, local) features of points by themselves, and the penalty of the feature transform, if any."""
        local = self.local(torch.cat([self._positions(sets), sets.feats], dim=1))
        if self.feature_net is None:
            return local, None
        matrix = self.feature_net(local, sets.lengths)
        return turn(local, matrix, sets.lengths), orthogonality(matrix)

    def _scores(self, sets: Sets, event_feats: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Scores of points in the order of the sets, or of sets, which are events with event features.

        Also the scalar penalty of the feature transform, if any.
        """
        local, penalty = self._local(sets)
        features = segment_max(self.wide(local), sets.lengths)  # (S, wide)
        if self.task.level == "point":
            features = self.dropout(self.head(self.join(local, features, sets.index)))
        else:
            features = self.head(with_event_feats(features, self.n_event_features, event_feats))
        return self.out(features), penalty

    def _positions(self, sets: Sets) -> Tensor:
        """(N, 3 + 6 waves) coordinates in the set, turned by the T-Net, and their waves."""
        xyz = sets.xyz
        if self.input_net is not None:
            xyz = turn(xyz, self.input_net(xyz, sets.lengths), sets.lengths)
        if not self.config.waves:
            return xyz
        return torch.cat([xyz, waves(xyz * sets.radius, self.config.waves, self.config.wavelengths)], dim=1)


def turn(x: Tensor, matrix: Tensor, lengths: Tensor) -> Tensor:
    """(N, k) rows of x times the matrix (B, k, k) of their own event."""
    return torch.cat([part @ m for part, m in zip(x.split(lengths.tolist()), matrix, strict=True)])


def orthogonality(matrix: Tensor) -> Tensor:
    """Mean over events of ||I - A A^T||_F^2, equation 2."""
    eye = torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
    return (eye - matrix @ matrix.transpose(1, 2)).square().sum(dim=(1, 2)).mean()


def build(config: PointNetConfig, inputs: Inputs, task: Task) -> PointNet:
    """The model for given inputs and task."""
    return PointNet(config, inputs, task)


_TINY: dict[str, Any] = {
    "local": (16, 16), "wide": (16, 32), "head": (16,), "event_head": (16,), "transform": (16, 32),
}  # fmt: skip

# The axis of a cluster or track is the frame's: coordinates stay about it. A strip of EMB1 is 0.125 units wide.
_CALORIMETER: dict[str, Any] = {"block": 0.0, "unit": 8.0, "wavelengths": (0.5, 64.0)}

SPEC = ModelSpec(
    name="pointnet",
    summary="Shared network per point and one maximum over its block or event (Qi et al. 2017)",
    config=PointNetConfig,
    build=build,
    presets={
        "default": Preset(optim={"lr": 3e-3, "weight_decay": 1e-4}),
        "tiny": Preset(model=_TINY, optim={"lr": 2e-3, "weight_decay": 1e-4}),
        "paper": Preset(
            model={
                "wide": (64, 128, 1024), "head": (512, 256, 128, 128), "event_head": (512, 256), "waves": 0,
                "block": 128.0, "transform": (64, 128, 1024), "dropout": 0.3, "event_norm": "batch",
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
            "default": Preset(model=_CALORIMETER),
            "tiny": Preset(model=_CALORIMETER),
            "paper": Preset(
                model={
                    **_CALORIMETER, "waves": 0, "local": (96, 96), "wide": (128, 256, 1024), "head": (512, 256, 128),
                    "point_dropout": 0.3,
                },
                optim={"optimiser": "adam", "betas": (0.98, 0.999)},
                # 1,000 epochs of 205,000 samples
                train={"rotation": "none", "batch_size": 700, "steps": 293_000},
            ),
        }
    },
    reference="arXiv:1612.00593, section 4, supplementary C",
)  # fmt: skip
