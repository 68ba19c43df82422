"""Deep Sets: layers in which points of a set interact only through one pooled row.

Zaheer et al., "Deep Sets", NeurIPS 2017 (arXiv:1703.06114). Permutation-equivariant layers follow equation 4 and
appendix H's form of it for several channels, sigma(beta + (x - pool(x)) Gamma); events are rho(pool(phi(points))),
theorem 2.

`paper` is the network of section 4.1.3 and appendix H for point clouds of some thousand points: zero mean and unit
variance per set, three equivariant layers of 256 channels with tanh and maxima, a maximum over the set, one layer of
256, dropout of 50% on both pooled layers, Adam at 0.001. For tasks of points, which were not done on clouds there, the
last equivariant layer is read out by a linear map. Not published for such clouds and chosen here: the number of
steps, the cosine, and rotations about every axis.

`default` has separate weights for points and pool, x Lambda + pool(x) Gamma, of which equation 4 is the special case of
tied weights, normalises activations, and gets positions as waves too, which so few layers do not learn from coordinates
(Tancik et al., arXiv:2006.10739). For tasks of points a set is one cube of the event, as the sets of the publication's
red-shift estimation, with a label per point, are clusters of galaxies, not the sky.

For calorimeters `paper` is the Particle Flow Network with which clusters of single pions were studied (public code
caloml-atlas; the network is that of Komiske et al., arXiv:1810.05165): 100-100-128 channels per cell, independently,
their sum, 100-100-100 channels of the event; 500 clusters per step, 100 epochs. Its 3 or 4 variables per cell are our
columns and coordinates here, and the event's own columns join the sum. For tasks of points, a cell is read together
with its event's row.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.contracts import Inputs, ModelSpec, PointBatch, Preset, Task
from benchmark.contracts.heads import PointModel, with_event_feats
from benchmark.ops.segments import segment_max, segment_mean

from ._sets import check_waves, cubes, inverse, waves, whole_events

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU}


@dataclass(frozen=True)
class DeepSetsConfig:
    """Widths, pooling, inputs."""

    layers: tuple[int, ...] = (128, 128, 128, 128, 128)  # channels of the equivariant layers
    pool: str = "both"  # pooling over the set: max | mean | both (half of the layers each, in turn) | none
    tied: bool = False  # True: (x - pool(x)) Gamma, as published for clouds | False: x Lambda + pool(x) Gamma
    activation: str = "relu"  # relu | tanh | elu
    norm: bool = True  # batch norm over the points of each layer
    block: float = 64.0  # of point tasks: side of the cubes that are separate sets; 0: the whole event is one set
    waves: int = 8  # sines and cosines of each coordinate, with wavelengths in geometric progression; 0: none
    wavelengths: tuple[float, float] = (4.0, 128.0)  # shortest and longest, in coordinate units
    # of whole events: coordinates are about the frame's centre, over this length; 0: about the centroid, over their
    # spread, which hides where a frame's axis is
    unit: float = 0.0
    # of event tasks: shared (the suite's, mean and maximum) | published (maximum, dropout) | sum (then `rho`; of point
    # tasks too)
    event_head: str = "shared"
    rho: tuple[int, ...] = (100, 100, 100)  # layers after the sum
    event_width: int = 256  # of the layer after the published pooling
    dropout: float = 0.0  # of the published event head: on the pooled row, and on the layer after it

    def __post_init__(self) -> None:
        choices = {
            "pool": ("max", "mean", "both", "none"), "activation": tuple(ACTIVATIONS),
            "event_head": ("shared", "published", "sum"),
        }  # fmt: skip
        for name, valid in choices.items():
            value = getattr(self, name)
            if value not in valid:
                raise ValueError(f"{name}={value!r} is not known. One of {', '.join(valid)} was expected.")
        for name in ("layers", "rho"):
            if not getattr(self, name) or min(getattr(self, name)) < 1:
                raise ValueError(
                    f"{name}={getattr(self, name)} are not possible. At least one width from 1 on was expected."
                )
        if not self.block >= 0:
            raise ValueError(f"block={self.block} is not possible. A length from 0 on was expected.")
        if not self.unit >= 0:
            raise ValueError(f"unit={self.unit} is not possible. A length from 0 on was expected.")
        check_waves(self.waves, self.wavelengths)


class Equivariant(nn.Module):
    """One permutation-equivariant layer on ragged sets; the pooled row is mapped once per set."""

    def __init__(self, n_in: int, n_out: int, pool: str, config: DeepSetsConfig) -> None:
        super().__init__()
        self.pool = pool
        self.own = nn.Linear(n_in, n_out)
        self.others = None if config.tied or pool == "none" else nn.Linear(n_in, n_out, bias=False)
        self.norm = nn.BatchNorm1d(n_out) if config.norm else nn.Identity()
        self.activation = ACTIVATIONS[config.activation]()

    def forward(self, x: Tensor, event: Tensor, lengths: Tensor) -> Tensor:
        """(N, n_out) from x (N, n_in), the event of each row (N,) and the rows of each event (B,)."""
        if self.pool == "none":
            independent: Tensor = self.activation(self.norm(self.own(x)))
            return independent
        pooled = segment_max(x, lengths) if self.pool == "max" else segment_mean(x, event, len(lengths))
        # Gamma is linear: (x - pool) Gamma = x Gamma - pool Gamma
        from_pool = self.others(pooled) if self.others is not None else -nn.functional.linear(pooled, self.own.weight)
        out: Tensor = self.activation(self.norm(self.own(x) + from_pool.index_select(0, event)))
        return out


class PublishedHead(nn.Module):
    """rho of appendix H: maximum over the set, dropout, one layer, dropout, scores."""

    def __init__(self, width: int, n_outputs: int, config: DeepSetsConfig, n_event_features: int = 0) -> None:
        super().__init__()
        c = config
        self.n_event_features = n_event_features
        self.rho = nn.Sequential(
            nn.Dropout(c.dropout), nn.Linear(width + n_event_features, c.event_width), ACTIVATIONS[c.activation](),
            nn.Dropout(c.dropout), nn.Linear(c.event_width, n_outputs),
        )  # fmt: skip

    def forward(self, features: Tensor, lengths: Tensor, event_feats: Tensor | None = None) -> Tensor:
        """(B, n_outputs) scores of sets from features of points (N, width) and of sets (B, n_event_features)."""
        scores: Tensor = self.rho(with_event_feats(segment_max(features, lengths), self.n_event_features, event_feats))
        return scores


class SummedHead(nn.Module):
    """The sum over the set, layers (F of a Particle Flow Network), a linear map of their row, or of point and row."""

    def __init__(self, width: int, n_outputs: int, config: DeepSetsConfig, n_event_features: int, level: str) -> None:
        super().__init__()
        self.n_event_features = n_event_features
        self.of_points = level == "point"
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise((width + n_event_features, *config.rho)):
            layers += [nn.Linear(n_in, n_out), ACTIVATIONS[config.activation]()]
        self.rho = nn.Sequential(*layers)
        self.out = nn.Linear(config.rho[-1] + (width if self.of_points else 0), n_outputs)

    def forward(self, features: Tensor, lengths: Tensor, event_feats: Tensor | None) -> Tensor:
        """(B, n_outputs) scores of sets, or (N, n_outputs) of points, from features of points (N, width)."""
        event = torch.repeat_interleave(torch.arange(len(lengths), device=features.device), lengths)
        total = features.new_zeros(len(lengths), features.shape[1]).index_add(0, event, features)
        rows = self.rho(with_event_feats(total, self.n_event_features, event_feats))
        if self.of_points:
            rows = torch.cat([features, rows.index_select(0, event)], dim=1)
        scores: Tensor = self.out(rows)
        return scores


class DeepSets(PointModel):
    """Equivariant layers; a linear map per point, or one row per event through the head."""

    head: nn.Module

    def __init__(self, config: DeepSetsConfig, inputs: Inputs, task: Task) -> None:
        super().__init__(task)
        c = config
        self.config = c
        inputs = self.expand_inputs(inputs)
        self.in_blocks = task.level == "point" and c.block > 0
        n_coords = 6 if self.in_blocks else 3  # in the set, and of the point in the event
        widths = (n_coords + 6 * c.waves + inputs.n_features, *c.layers)
        pools = [("max", "mean")[i % 2] if c.pool == "both" else c.pool for i in range(len(c.layers))]
        self.layers = nn.ModuleList(
            Equivariant(*pair, pool, c) for pair, pool in zip(pairwise(widths), pools, strict=True)
        )
        self.feature_width = c.layers[-1]
        if c.event_head == "sum":
            self.head = SummedHead(c.layers[-1], task.n_outputs, c, self.n_event_features, task.level)
        elif task.level == "event" and c.event_head == "published":
            self.head = PublishedHead(c.layers[-1], task.n_outputs, c, self.n_event_features)
        else:
            self.add_head(c.layers[-1])

    def forward(self, batch: PointBatch) -> Tensor:
        """(N, n_outputs) scores of a point task, (B, n_outputs) of an event task."""
        if self.task.level == "point" and isinstance(self.head, SummedHead):
            features = self.point_features(batch)
            scores: Tensor = self.head(features, batch.lengths, batch.whole.feats)
            return scores
        return super().forward(batch)

    def features(self, batch: PointBatch) -> Tensor:
        """(N, width) output of the last equivariant layer."""
        c = self.config
        sets = cubes(batch, c.block) if self.in_blocks else whole_events(batch, c.unit or "deviation")
        wave_features = waves(sets.xyz * sets.radius, c.waves, c.wavelengths)
        x = torch.cat([sets.xyz, wave_features, sets.feats], dim=1)
        for layer in self.layers:
            x = layer(x, sets.index, sets.lengths)
        return x.index_select(0, inverse(sets.order))


def build(config: DeepSetsConfig, inputs: Inputs, task: Task) -> DeepSets:
    """The model for given inputs and task."""
    return DeepSets(config, inputs, task)


# The axis of a cluster or track is the frame's: coordinates stay about it. A strip of EMB1 is 0.125 units wide.
_CALORIMETER: dict[str, Any] = {"block": 0.0, "unit": 8.0, "wavelengths": (0.5, 64.0)}

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
    has_point_features=True,
    kinds=("classification", "regression"),
    detector_presets={
        "calorimeter": {
            "default": Preset(model=_CALORIMETER, optim={"lr": 1e-2}),  # from the search on validation clusters
            "tiny": Preset(model=_CALORIMETER),
            "paper": Preset(
                model={
                    **_CALORIMETER, "layers": (100, 100, 128), "pool": "none", "tied": False, "activation": "relu",
                    "event_head": "sum", "waves": 0,
                },
                optim={"optimiser": "adam", "schedule": "constant"},
                # 100 epochs of 130,000 clusters
                train={"rotation": "none", "batch_size": 500, "steps": 26_000},
            ),
        }
    },
    reference="arXiv:1703.06114, equation 4, section 4.1.3, appendix H",
)  # fmt: skip
