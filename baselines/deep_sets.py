"""Deep Sets: layers that see the other points of a set only through one pooled row.

Zaheer et al., "Deep Sets", NeurIPS 2017 (arXiv:1703.06114). Permutation-equivariant layers follow equation 4 and
appendix H's form of it for several channels, sigma(beta + (x - pool(x)) Gamma); events are rho(pool(phi(points))),
theorem 2.

`paper` is the network of section 4.1.3 and appendix H for point clouds of some thousand points: zero mean and unit
variance per set, three equivariant layers of 256 channels with tanh and maxima, a maximum over the set, one layer of
256, dropout of 50% on both pooled layers, Adam at 0.001. For tasks of points, which were not done on clouds there, the
last equivariant layer is read out by a linear map. Not published for clouds of our kind, and the suite's: the number of
steps, the cosine, and rotations about every axis.

`default` gives points and pool weights of their own, x Lambda + pool(x) Gamma, of which equation 4 is the special case
of tied weights, normalises activations, and is told positions as waves too, which layers this few in number do not make
out of coordinates (Tancik et al., arXiv:2006.10739). For tasks of points a set is what stands in one cube of the event,
as the sets of the publication's red-shift estimation, with a label per point, are clusters of galaxies, not the sky.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from benchmark.contracts import Inputs, ModelSpec, PointBatch, Preset, Task
from benchmark.heads import PointModel
from benchmark.ops.segments import segment_max, segment_mean

from ._sets import cubes, waves, whole_events

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU}


@dataclass(frozen=True)
class DeepSetsConfig:
    """Widths, pooling, inputs."""

    layers: tuple[int, ...] = (128, 128, 128, 128, 128)  # channels of the equivariant layers
    pool: str = "both"  # what a layer knows of the others: max | mean | both (half of the layers each, in turn)
    tied: bool = False  # True: (x - pool(x)) Gamma, as published for clouds | False: x Lambda + pool(x) Gamma
    activation: str = "relu"  # relu | tanh | elu
    norm: bool = True  # batch norm over the points of each layer
    block: float = 64.0  # of point tasks: side of the cubes that are sets of their own; 0: the whole event is one set
    waves: int = 8  # sines and cosines of each coordinate, with wavelengths in geometric progression; 0: none
    wavelengths: tuple[float, float] = (4.0, 128.0)  # shortest and longest, in coordinate units
    event_head: str = "shared"  # of event tasks: shared (the suite's, mean and maximum) | published (maximum, dropout)
    event_width: int = 256  # of the layer after the published pooling
    dropout: float = 0.0  # of the published event head: on the pooled row, and on the layer after it

    def __post_init__(self) -> None:
        choices = {
            "pool": ("max", "mean", "both"), "activation": tuple(ACTIVATIONS), "event_head": ("shared", "published"),
        }  # fmt: skip
        for name, valid in choices.items():
            value = getattr(self, name)
            if value not in valid:
                raise ValueError(f"{name}={value!r} is not known. One of {', '.join(valid)} was expected.")
        if not self.layers or min(self.layers) < 1:
            raise ValueError(f"layers={self.layers} are not possible. At least one width from 1 on was expected.")
        if not self.block >= 0:
            raise ValueError(f"block={self.block} is not possible. A length from 0 on was expected.")
        if self.waves < 0 or not 0 < self.wavelengths[0] <= self.wavelengths[1]:
            raise ValueError(
                f"waves={self.waves} with wavelengths={self.wavelengths} are not possible. A number from 0 on, and two "
                f"lengths above 0, the shorter one first, were expected."
            )


class Equivariant(nn.Module):
    """One permutation-equivariant layer on ragged sets; what it knows of a set it maps once per set."""

    def __init__(self, n_in: int, n_out: int, pool: str, config: DeepSetsConfig) -> None:
        super().__init__()
        self.pool = pool
        self.own = nn.Linear(n_in, n_out)
        self.others = None if config.tied else nn.Linear(n_in, n_out, bias=False)
        self.norm = nn.BatchNorm1d(n_out) if config.norm else nn.Identity()
        self.activation = ACTIVATIONS[config.activation]()

    def forward(self, x: Tensor, event: Tensor, lengths: Tensor) -> Tensor:
        """(N, n_out) from x (N, n_in), the event of each row (N,) and the rows of each event (B,)."""
        pooled = segment_max(x, lengths) if self.pool == "max" else segment_mean(x, event, len(lengths))
        # Gamma is linear: (x - pool) Gamma = x Gamma - pool Gamma
        shared = self.others(pooled) if self.others is not None else -nn.functional.linear(pooled, self.own.weight)
        out: Tensor = self.activation(self.norm(self.own(x) + shared.index_select(0, event)))
        return out


class PublishedHead(nn.Module):
    """rho of appendix H: maximum over the set, dropout, one layer, dropout, scores."""

    def __init__(self, width: int, n_outputs: int, config: DeepSetsConfig) -> None:
        super().__init__()
        c = config
        self.rho = nn.Sequential(
            nn.Dropout(c.dropout), nn.Linear(width, c.event_width), ACTIVATIONS[c.activation](),
            nn.Dropout(c.dropout), nn.Linear(c.event_width, n_outputs),
        )  # fmt: skip

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(B, n_outputs) scores of sets from features of points (N, width)."""
        scores: Tensor = self.rho(segment_max(features, lengths))
        return scores


class DeepSets(PointModel):
    """Equivariant layers; a linear map per point, or one row per event through the head."""

    head: nn.Module

    def __init__(self, config: DeepSetsConfig, inputs: Inputs, task: Task) -> None:
        super().__init__(task)
        c = config
        self.config = c
        self.in_blocks = task.level == "point" and c.block > 0
        n_places = 6 if self.in_blocks else 3  # in the set, and of the point in the event
        widths = (n_places + 6 * c.waves + inputs.n_features, *c.layers)
        pools = [("max", "mean")[i % 2] if c.pool == "both" else c.pool for i in range(len(c.layers))]
        self.layers = nn.ModuleList(
            Equivariant(*pair, pool, c) for pair, pool in zip(pairwise(widths), pools, strict=True)
        )
        if task.level == "event" and c.event_head == "published":
            self.head = PublishedHead(c.layers[-1], task.n_outputs, c)
        else:
            self.add_head(c.layers[-1])

    def features(self, batch: PointBatch) -> Tensor:
        """(N, width) what the last equivariant layer gives."""
        c = self.config
        sets = cubes(batch, c.block) if self.in_blocks else whole_events(batch, "deviation")
        places = waves(sets.xyz * sets.radius, c.waves, c.wavelengths)
        x = torch.cat([sets.xyz, places, sets.feats], dim=1)
        for layer in self.layers:
            x = layer(x, sets.index, sets.lengths)
        back = torch.empty_like(sets.order)
        back[sets.order] = torch.arange(len(back), device=back.device)
        return x.index_select(0, back)


def build(config: DeepSetsConfig, inputs: Inputs, task: Task) -> DeepSets:
    """The model for given inputs and task."""
    return DeepSets(config, inputs, task)


SPEC = ModelSpec(
    name="deep_sets",
    summary="Permutation-equivariant layers, an invariant pool for events (Zaheer et al. 2017)",
    config=DeepSetsConfig,
    build=build,
    presets={
        "default": Preset(optim={"lr": 3e-3, "weight_decay": 1e-4}),
        "tiny": Preset(model={"layers": (16, 16, 16)}, optim={"lr": 4e-3, "weight_decay": 1e-4}),
        "paper": Preset(
            model={
                "layers": (256, 256, 256), "pool": "max", "tied": True, "activation": "tanh", "norm": False, "waves": 0,
                "block": 0.0, "event_head": "published", "dropout": 0.5,
            },
            optim={"lr": 1e-3, "weight_decay": 0.0, "warmup_fraction": 0.0, "clip_norm": 0.0},
            train={"batch_size": 64},
        ),
    },
    levels=("point", "event"),
    reference="arXiv:1703.06114, equation 4, section 4.1.3, appendix H",
)  # fmt: skip
