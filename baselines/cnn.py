"""A convolutional network on images of the calorimeter's layers, after the ATLAS classification of pions.

ATL-PHYS-PUB-2020-018 and ATL-PHYS-PUB-2022-040, their code caloml-atlas. A cluster's energies, divided by their sum,
become one image per layer, 0.4 x 0.4 in eta and phi about the axis, with pixels of about a cell: EMB1 128 x 4, EMB2 16
x 16, EMB3 8 x 16, TileBar0 and TileBar1 4 x 4, TileBar2 2 x 4. Each image has its own convolutions; their outputs and
the features of the event enter dense layers.

`default` takes the fourth root of the pixels: most cells of a shower hold less than a hundredth of its energy.

Published and followed under `paper`: the images, Adam at 0.0001, batches of 200. The widths of the published networks
were not available. Ours are a guess: 32 and 16 channels of 3 x 3 with ReLU and maxima in between, then 50 dense ones,
which gives about as many parameters as the only known size (163,000, of a network on EMB1 to EMB3). The features
of the event are ours as well: an image with the sum 1 has no information on the energy, which a regression needs.

A cell goes to the pixel of its centre. Cells outside an image go to the border pixel, and layers beyond the barrel's
six to the image at their depth, so no energy is lost and the images sum to 1. Points of tracks are not cells. Around a
track the axis is the track's, and many clusters may be at the borders.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from benchmark.contracts import Inputs, ModelSpec, PointBatch, Preset, Task
from benchmark.contracts.torch_model import TorchModel
from benchmark.ops.host_tables import to_device

from ._dense import dense

IMAGES = ("EMB1", "EMB2", "EMB3", "TileBar0", "TileBar1", "TileBar2")
SHAPES = ((128, 4), (16, 16), (8, 16), (4, 4), (4, 4), (2, 4))  # pixels in eta and phi
SIDE = 0.4  # of every image, in eta and phi
UNIT = (0.025, 2 * math.pi / 256)  # of the coordinates of cells, in eta and phi
# image of each CaloSampling number: presamplers and EME with EMB, HEC and TileExt with TileBar, gaps between them,
# forward calorimeters by depth
IMAGE_OF_SAMPLING = (0, 0, 1, 2, 0, 0, 1, 2, 3, 3, 4, 5, 3, 4, 5, 4, 5, 3, 3, 4, 5, 1, 3, 5, 1, 3, 4, 5)
_LEAST_GEV = 1e-3  # minimum divisor of energies


@dataclass(frozen=True)
class CnnConfig:
    """Widths, and the transformation of the pixels."""

    channels: tuple[int, ...] = (16, 16)  # of the convolutions of each image
    dense: tuple[int, ...] = (64, 32)  # of the layers on the features of all images
    pixel_power: float = 0.25  # pixels are taken to this power: below 1, dim ones count for more; 1: as published
    dropout: float = 0.0  # before the last layer

    def __post_init__(self) -> None:
        for name in ("channels", "dense"):
            value = getattr(self, name)
            if not value or min(value) < 1:
                raise ValueError(f"{name}={value} are not possible. At least one width from 1 on was expected.")
        if not (math.isfinite(self.pixel_power) and self.pixel_power > 0):
            raise ValueError(f"pixel_power={self.pixel_power} is not possible. A finite number above 0 was expected.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} is not possible. A number from 0 to below 1 was expected.")


class Tower(nn.Module):
    """Convolutions of one layer's image; maxima over pairs of pixels along every side longer than 4."""

    def __init__(self, shape: tuple[int, int], channels: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise((1, *channels)):
            layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU()]
            step = (2 if shape[0] > 4 else 1, 2 if shape[1] > 4 else 1)
            if step != (1, 1):
                layers.append(nn.MaxPool2d(step))
            shape = shape[0] // step[0], shape[1] // step[1]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.width = channels[-1] * shape[0] * shape[1]

    def forward(self, image: Tensor) -> Tensor:
        """(B, width) from pixels (B, eta, phi)."""
        features: Tensor = self.layers(image[:, None])
        return features


class Cnn(TorchModel):
    """A tower per layer, dense layers on all of them and on the features of the event."""

    def __init__(self, config: CnnConfig, inputs: Inputs, task: Task) -> None:
        super().__init__(task)
        c = config
        self.config = c
        towers = [Tower(shape, c.channels) for shape in SHAPES]
        self.towers = nn.ModuleList(towers)
        widths = (sum(tower.width for tower in towers) + inputs.n_event_features, *c.dense)
        self.head = nn.Sequential(dense(widths), nn.Dropout(c.dropout), nn.Linear(c.dense[-1], task.n_outputs))

    def forward(self, batch: PointBatch) -> Tensor:
        """(B, n_outputs) scores, or what is added to the batch's baseline."""
        pixels = [image.clamp(min=0) ** self.config.pixel_power for image in images(batch)]
        parts = [tower(image) for tower, image in zip(self.towers, pixels, strict=True)]
        if batch.whole.feats is not None:
            parts.append(batch.whole.feats)
        scores: Tensor = self.head(torch.cat(parts, dim=1))
        return scores


def images(batch: PointBatch) -> list[Tensor]:
    """(B, eta, phi) float32 for each of IMAGES: the share of an event's energy in each pixel.

    All of an event's pixels sum to 1; to less where its energy is below 1 MeV. Raises ValueError for a batch without
    samplings, or with unknown ones.
    """
    pixel = pixel_of_cell(batch)  # (N,) among the pixels of all events
    energy = torch.where(batch.point_info["category"] == 1, batch.energy, 0.0).double()  # GeV
    total = energy.new_zeros(batch.n_events).index_add(0, batch.event_index, energy).clamp(min=_LEAST_GEV)
    n_pixels = [eta * phi for eta, phi in SHAPES]
    flat = energy.new_zeros(batch.n_events * sum(n_pixels)).index_add(0, pixel, energy)  # double: any order of points
    shares = (flat.view(batch.n_events, -1) / total[:, None]).float()
    parts = torch.split(shares, n_pixels, dim=1)
    return [part.reshape(-1, *shape) for part, shape in zip(parts, SHAPES, strict=True)]


def pixel_of_cell(batch: PointBatch) -> Tensor:
    """(N,) int64 the pixel that each point lies in, numbered over events, images, eta and phi."""
    if not {"sampling", "category"} <= set(batch.point_info):
        raise ValueError(
            "The batch has no layers of its points. Cells of a calorimeter were expected. Choose "
            "--dataset calo-sim or another calorimeter dataset."
        )
    sampling = batch.point_info["sampling"].long()
    if sampling.numel() and not 0 <= int(sampling.min()) <= int(sampling.max()) < len(IMAGE_OF_SAMPLING):
        raise ValueError(
            f"The batch has samplings from {int(sampling.min())} to {int(sampling.max())}. ATLAS's, 0 to "
            f"{len(IMAGE_OF_SAMPLING) - 1}, were expected. Correct the data."
        )
    image = to_device(IMAGE_OF_SAMPLING, torch.int64, sampling.device)[sampling]
    shape = to_device(SHAPES, torch.int64, sampling.device)[image]  # (N, 2)
    offset = batch.coords[:, :2].double() * to_device(UNIT, torch.float64, batch.coords.device)  # (N, 2) eta, phi
    pixel = torch.floor((offset + SIDE / 2) / SIDE * shape).long()
    pixel = torch.minimum(pixel.clamp(min=0), shape - 1)
    n_pixels = to_device([eta * phi for eta, phi in SHAPES], torch.int64, sampling.device)
    first = torch.cumsum(n_pixels, dim=0) - n_pixels
    in_event = first[image] + pixel[:, 0] * shape[:, 1] + pixel[:, 1]
    index: Tensor = batch.event_index * int(n_pixels.sum()) + in_event
    return index


def build(config: CnnConfig, inputs: Inputs, task: Task) -> Cnn:
    """The model for given inputs and task."""
    return Cnn(config, inputs, task)


SPEC = ModelSpec(
    name="cnn",
    summary="Images of the calorimeter's layers, a small convolutional network for each (ATLAS 2020)",
    config=CnnConfig,
    build=build,
    presets={
        "default": Preset(optim={"lr": 1e-2, "weight_decay": 1e-3}),  # from the search on validation clusters
        "tiny": Preset(model={"channels": (4, 4), "dense": (16,)}, optim={"lr": 2e-3, "weight_decay": 1e-4}),
        "paper": Preset(
            model={"channels": (32, 16), "dense": (50,), "pixel_power": 1.0},
            optim={
                "optimiser": "adam", "lr": 1e-4, "weight_decay": 0.0, "schedule": "constant", "warmup_fraction": 0.0,
                "clip_norm": 0.0,
            },
            train={"batch_size": 200, "rotation": "none"},
        ),
    },
    levels=("event",),
    kinds=("classification", "regression"),
    detectors=("calorimeter",),
    reference="ATL-PHYS-PUB-2020-018; ATL-PHYS-PUB-2022-040",
)  # fmt: skip
