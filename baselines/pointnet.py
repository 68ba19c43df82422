"""PointNet: a shared network per point, one maximum over the event, both joined again for every point.

Qi et al., "PointNet: Deep Learning on Point Sets for 3D Classification and Segmentation", CVPR 2017 (arXiv:1612.00593),
section 4 and supplementary C: T-Nets for the coordinates and the 64 features, the penalty on the latter of equation 2,
and widths 64-64 | 64-128-1024 | 512-256-128.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.contracts import Inputs, ModelSpec, PointBatch, Preset, Task
from benchmark.contracts.torch_model import TorchModel
from benchmark.ops.segments import segment_max


@dataclass(frozen=True)
class PointNetConfig:
    """Widths and parts."""

    local: tuple[int, ...] = (64, 64)  # shared network before the feature transform
    wide: tuple[int, ...] = (64, 128, 256)  # shared network before the maximum
    head: tuple[int, ...] = (256, 128)  # network on [local, global] features
    input_transform: bool = True  # T-Net that turns the coordinates
    feature_transform: bool = True  # T-Net that turns the local features
    transform_penalty: float = 0.001  # weight of ||I - A A^T||^2, equation 2
    dropout: float = 0.0  # before the last layer
    event_norm: str = "layer"  # norm of layers with one row per event: layer | batch (published; needs 2 events)


def shared(widths: tuple[int, ...]) -> nn.Sequential:
    """Linear, batch norm and ReLU per row; at evaluation every row stands alone."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out, bias=False), nn.BatchNorm1d(n_out), nn.ReLU()]
    return nn.Sequential(*layers)


def per_event(widths: tuple[int, ...], norm: str) -> nn.Sequential:
    """The same for rows that are events, with the chosen norm."""
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


class PointNet(TorchModel):
    """Segmentation form for point tasks, classification form for event tasks."""

    def __init__(self, config: PointNetConfig, inputs: Inputs, task: Task) -> None:
        super().__init__(task)
        self.config = config
        c = config
        self.input_net = TNet(3, c.wide, c.event_norm) if c.input_transform else None
        self.local = shared((3 + inputs.n_features, *c.local))
        self.feature_net = TNet(c.local[-1], c.wide, c.event_norm) if c.feature_transform else None
        self.wide = shared((c.local[-1], *c.wide))
        if task.level == "point":
            self.head = shared((c.local[-1] + c.wide[-1], *c.head))
        else:
            self.head = per_event((c.wide[-1], *c.head), c.event_norm)
        self.out = nn.Sequential(nn.Dropout(c.dropout), nn.Linear(c.head[-1], task.n_outputs))
        self._penalty: Tensor | None = None

    def forward(self, batch: PointBatch) -> Tensor:
        """(N, C) scores of a point task, (B, C) of an event task."""
        lengths = batch.lengths
        xyz = batch.normalised_coords
        if self.input_net is not None:
            xyz = turn(xyz, self.input_net(xyz, lengths), lengths)
        local = self.local(torch.cat([xyz, batch.feats], dim=1))
        self._penalty = None
        if self.feature_net is not None:
            matrix = self.feature_net(local, lengths)
            local = turn(local, matrix, lengths)
            self._penalty = orthogonality(matrix)
        pooled = segment_max(self.wide(local), lengths)
        if self.task.level == "point":
            return self._read_out(torch.cat([local, pooled[batch.event_index]], dim=1))
        return self._read_out(pooled)

    def _read_out(self, features: Tensor) -> Tensor:
        scores: Tensor = self.out(self.head(features))
        return scores

    def loss(self, batch: PointBatch, scores: Tensor) -> Tensor:
        """The task's loss and the orthogonality penalty of the feature transform."""
        loss = super().loss(batch, scores)
        if self._penalty is not None:
            loss = loss + self.config.transform_penalty * self._penalty
        return loss


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


_TINY: dict[str, Any] = {"local": (16, 16), "wide": (16, 32), "head": (16,)}

SPEC = ModelSpec(
    name="pointnet",
    summary="Shared network per point and one maximum over the event (Qi et al. 2017)",
    config=PointNetConfig,
    build=build,
    presets={
        "default": Preset(optim={"lr": 2e-3, "weight_decay": 1e-4}),
        "tiny": Preset(model=_TINY, optim={"lr": 2e-3, "weight_decay": 1e-4}),
        "paper": Preset(
            model={"wide": (64, 128, 1024), "head": (512, 256, 128), "dropout": 0.3, "event_norm": "batch"},
            optim={"lr": 1e-3, "weight_decay": 0.0, "warmup_fraction": 0.0},
            train={"batch_size": 32},
        ),
    },
    levels=("point", "event"),
    reference="arXiv:1612.00593, section 4, supplementary C",
)
