"""Dense convolutional U-Net on volumes: the supervised baseline that knows nothing but the labelled tiles.

`paper` is the 3-D U-Net of Çiçek et al., "3D U-Net: Learning Dense Volumetric Segmentation from Sparse Annotation"
(arXiv:1606.06650): four levels, 32 to 512 channels, doubled before each pooling, stochastic gradient descent; z is not
pooled, because a tile has five slices, and norms are over the channels of a sample, never over a batch. The default
takes the slices of a tile as channels of a flat U-Net, which costs a tenth.

The same network fills in hidden tokens: it sees the volume with a smooth filling, and which voxels were hidden, and
predicts a change to the filling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.contracts import Inputs, ModelSpec, PointBatch, Preset, Task, TorchModel
from benchmark.ops.smooth import fill

GROUP = 8  # channels of a group of the norms, at most


@dataclass(frozen=True)
class ConvUNetConfig:
    """Sizes."""

    channels: tuple[int, ...] = (16, 32, 64, 96)  # of each level's output; each level halves y and x
    flat: bool = True  # slices are channels of two-dimensional convolutions; else convolutions are 3 x 3 x 3
    slices: int = 5  # of a tile, where `flat`; thicker volumes are cut into such slabs
    doubling: bool = False  # the first convolution of a level has half of its channels, as published
    transposed: bool = False  # transposed convolutions between levels, as published; else the nearest value
    pool_z: bool = False  # levels halve z too, as published; not where `flat`

    def __post_init__(self) -> None:
        if not self.channels or min(self.channels) < 2 or self.slices < 1:
            raise ValueError(
                f"channels={self.channels} with slices={self.slices} are not possible. Numbers from 2 and 1 on were "
                f"expected."
            )


class ConvUNet(TorchModel):
    """Encoder of convolutions and poolings, decoder that gets each level's features again."""

    def __init__(self, config: ConvUNetConfig, inputs: Inputs, task: Task) -> None:
        super().__init__(task)
        self.config = c = config
        self.conv: Any = nn.Conv2d if c.flat else nn.Conv3d
        self.step = (2, 2) if c.flat else (2 if c.pool_z else 1, 2, 2)  # from one level to the next
        self.pool = nn.MaxPool2d(self.step) if c.flat else nn.MaxPool3d(self.step)
        per_voxel = c.slices if c.flat else 1
        n_in = per_voxel * (2 if task.self_supervised else 1)
        widths = [n_in, *c.channels]
        self.down = nn.ModuleList(self._block(a, b) for a, b in zip(widths, c.channels, strict=False))
        pairs = list(zip(c.channels[1:], c.channels, strict=False))[::-1]
        self.up = nn.ModuleList(self._block(below + above, above) for below, above in pairs)
        between = nn.ConvTranspose2d if c.flat else nn.ConvTranspose3d
        self.widen = nn.ModuleList(
            between(below, below, self.step, stride=self.step) if c.transposed else nn.Upsample(scale_factor=self.step)
            for below, _ in pairs
        )
        self.last = self.conv(c.channels[0], per_voxel * task.n_outputs, 1)
        if task.self_supervised:  # the first prediction is the filling itself
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)

    def _block(self, n_in: int, n_out: int) -> nn.Sequential:
        between = max(n_out // 2, 1) if self.config.doubling and n_out > n_in else n_out
        layers: list[nn.Module] = []
        for a, b in ((n_in, between), (between, n_out)):
            layers += [self.conv(a, b, 3, padding=1), nn.GroupNorm(_groups(b), b), nn.ReLU()]
        return nn.Sequential(*layers)

    def forward(self, batch: PointBatch) -> Tensor:
        """(B, n_outputs, Z, Y, X) scores of voxels, or (B, 1, Z, Y, X) the volumes with hidden tokens predicted."""
        volume: Any = batch.volume
        if not self.task.self_supervised:
            return self.network([volume], volume.shape)
        hidden: Any = batch.hidden_voxels
        filled = fill(volume, hidden)
        change = self.network([filled, hidden.to(volume.dtype)], volume.shape)[:, 0]
        return torch.where(hidden, filled + change, volume)[:, None]

    def network(self, images: Sequence[Tensor], shape: torch.Size) -> Tensor:
        """(B, n_outputs, Z, Y, X) from images (B, Z, Y, X) of the same tiles."""
        c = self.config
        if c.flat and shape[1] % c.slices:
            raise ValueError(
                f"Volumes of {shape[1]} slices do not divide into slabs of {c.slices}. A multiple was expected. "
                f"Correct --set model.slices."
            )
        slabs = shape[1] // c.slices if c.flat else 1
        parts = [i.reshape(len(i) * slabs, -1, *shape[2:]) if c.flat else i[:, None] for i in images]
        rows = torch.cat(parts, dim=1)
        rows = functional.pad(rows, self._beyond(rows.shape[2:]))
        levels = []
        for i, block in enumerate(self.down):
            rows = block(rows if i == 0 else self.pool(rows))
            levels.append(rows)
        for widen, block, level in zip(self.widen, self.up, levels[-2::-1], strict=True):
            rows = block(torch.cat([widen(rows), level], dim=1))
        scores: Tensor = self.last(rows)[..., : shape[2], : shape[3]]
        if not c.flat:
            return scores[:, :, : shape[1]]
        scores = scores.reshape(shape[0], slabs, self.task.n_outputs, c.slices, *shape[2:])
        return scores.transpose(1, 2).flatten(2, 3)

    def _beyond(self, sizes: torch.Size) -> list[int]:
        """Zeros to add after each axis, the last one first, so that every level can be halved."""
        found = []
        for n, step in zip(reversed(sizes), reversed(self.step), strict=True):
            found += [0, (-n) % step ** (len(self.config.channels) - 1)]
        return found


def _groups(channels: int) -> int:
    """Groups of a norm: of GROUP channels where they divide, else one."""
    return channels // GROUP if channels % GROUP == 0 else 1


def build(config: ConvUNetConfig, inputs: Inputs, task: Task) -> ConvUNet:
    """A model with random weights."""
    return ConvUNet(config, inputs, task)


SPEC = ModelSpec(
    name="conv_unet",
    summary="Dense convolutional U-Net on volumes",
    config=ConvUNetConfig,
    build=build,
    presets={
        "default": Preset(optim={"lr": 3e-3}),
        "tiny": Preset(model={"channels": (4, 8)}, optim={"lr": 3e-3}),
        "paper": Preset(
            model={"channels": (64, 128, 256, 512), "flat": False, "doubling": True, "transposed": True},
            optim={"optimiser": "sgd", "lr": 1e-2, "weight_decay": 0.0, "schedule": "constant", "clip_norm": 0.0},
        ),
    },
    data=("volumes",),
    levels=("volume",),
    kinds=("classification", "regression"),
    reference="arXiv:1606.06650",
)
