"""Masked point modelling: parts of an event are hidden, and each hidden point tells what the event was like around it.

Points in random cubes lose their features and are displaced at random. From its features in the backbone, each of them
predicts the features that it had, the way back to where it lay, and what surrounded it there: energy, number, linearity
and planarity of the points within some radii.

Of the literature: hidden parts of an input as a task (He et al., "Masked autoencoders are scalable vision learners",
arXiv:2111.06377); descriptors of the clean input instead of the input itself as the target (MaskFeat, Wei et al.,
arXiv:2112.09133); a displaced point that predicts its way back (denoising of coordinates: Zaidi et al.,
arXiv:2206.00133). Eigenvalue descriptors: Weinmann et al., ISPRS J. 105 (2015) 286.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from benchmark.contracts import Inputs, PointBatch, TorchModel
from benchmark.contracts.parts import Links, Views
from benchmark.contracts.pretext import HIDDEN, PretextPreset, PretextSpec
from benchmark.contracts.pretext_training import Pretext
from benchmark.ops.neighbourhoods import NAMES, descriptors
from benchmark.pretexts._views import hidden_cubes


@dataclass(frozen=True)
class MaskedConfig:
    """What is hidden, and what is predicted. Lengths are in coordinate units."""

    cube: float = 12.0  # edge of the cubes that are hidden as a whole
    ratio: float = 0.5  # share of an event's occupied cubes that is hidden
    noise: float = 2.0  # standard deviation of a hidden point's displacement, along each axis
    radii: tuple[float, ...] = (4.0, 12.0)  # of the neighbourhoods that are described
    feature_weight: float = 1.0  # weights of the targets: a point's own features
    displacement_weight: float = 1.0  # the way back, over `noise`
    descriptor_weight: float = 1.0  # the descriptors of each radius
    hidden_width: int = 128  # of the predictor's layer between; 0: one linear map

    def __post_init__(self) -> None:
        if not (self.cube > 0 and self.noise >= 0 and all(r > 0 for r in self.radii)):
            raise ValueError(
                f"cube={self.cube} with noise={self.noise} and radii={self.radii} is not possible. Lengths above 0, "
                f"and a noise from 0 on, were expected."
            )
        if not 0 < self.ratio < 1:
            raise ValueError(f"ratio={self.ratio} is not possible. A share between 0 and 1 was expected.")
        weights = (self.feature_weight, self.displacement_weight, self.descriptor_weight)
        if min(weights) < 0 or not max(weights) > 0 or self.hidden_width < 0:
            raise ValueError(
                f"weights={weights} with hidden_width={self.hidden_width} are not possible. Numbers from 0 on were "
                f"expected, and one weight above 0."
            )


def make_views(
    config: MaskedConfig, batch: PointBatch[np.ndarray], progress: float, rngs: Sequence[np.random.Generator],
    rescale: Any = None,
) -> PointBatch[np.ndarray]:  # fmt: skip
    """One view per event: hidden points without features, displaced; with the column HIDDEN, and targets.

    Targets are (N, C + 3 + 4 R): C features, the way back over `noise`, and four descriptors for each of R radii.
    Nothing else of a hidden point remains: no label, no quantity in the detector's units, and no link, which would tell
    its neighbours. Features of the whole event stay.
    """
    coords, hidden = batch.coords.copy(), np.zeros(batch.n_points, bool)
    shift = np.zeros_like(coords)
    n_features = batch.feats.shape[1]
    targets = np.zeros((batch.n_points, n_features + 3 + len(NAMES) * len(config.radii)), np.float32)
    targets[:, :n_features] = batch.feats
    for rng, begin, end in zip(rngs, batch.offsets[:-1], batch.offsets[1:], strict=True):
        rows = begin + np.flatnonzero(hidden_cubes(batch.coords[begin:end], config.cube, config.ratio, rng))
        hidden[rows] = True
        shift[rows] = config.noise * rng.standard_normal((len(rows), 3))
        for i, radius in enumerate(config.radii):
            first = n_features + 3 + len(NAMES) * i
            targets[rows, first : first + len(NAMES)] = descriptors(
                batch.coords[rows], batch.coords[begin:end], batch.energy[begin:end], radius
            )
    targets[:, n_features : n_features + 3] = -shift / (config.noise or 1.0)
    feats = np.concatenate([np.where(hidden[:, None], 0, batch.feats), hidden[:, None]], axis=1, dtype=np.float32)
    return replace(
        batch.without_target(),
        coords=coords + shift,
        energy=np.where(hidden, 0, batch.energy).astype(np.float32),
        feats=feats,
        columns=(*batch.columns, HIDDEN),
        point_info={},
        event_info={},
        links=visible_links(batch.links, hidden),
        views=Views(batch.coords, hidden, targets, np.arange(batch.n_events), np.zeros(batch.n_events, np.int64)),
    )


def visible_links(links: Links[np.ndarray], hidden: np.ndarray) -> Links[np.ndarray]:
    """The links between visible points. hidden: (N,) bool."""
    if links.ends is None or links.kind is None:
        return links
    visible = ~hidden[links.ends].any(axis=1)  # (E,)
    return Links(links.ends[visible], links.kind[visible])


class Masked(Pretext):
    """The predictor of the hidden points' targets, and its loss."""

    def __init__(self, config: MaskedConfig, model: TorchModel, inputs: Inputs) -> None:
        super().__init__()
        c = config
        self.groups = {
            "features": (inputs.n_features, c.feature_weight),
            "displacement": (3, c.displacement_weight),
            **{f"around {radius:g}": (len(NAMES), c.descriptor_weight) for radius in c.radii},
        }
        n_targets = sum(n for n, _ in self.groups.values())
        self.predictor = (
            nn.Sequential(
                nn.Linear(model.feature_width, c.hidden_width), nn.GELU(), nn.Linear(c.hidden_width, n_targets)
            )
            if c.hidden_width
            else nn.Linear(model.feature_width, n_targets)
        )

    def loss(self, model: TorchModel, batch: PointBatch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Smooth L1 of the standardised targets, a mean over each group's hidden points, summed by their weights."""
        hidden, targets = batch.views.hidden, batch.views.targets
        assert hidden is not None and targets is not None  # made by `make_views`
        predicted = self.predictor(model.point_features(batch).float()[hidden])
        true = standardised(targets[hidden])
        parts: dict[str, Tensor] = {}
        total, first = predicted.new_zeros(()), 0
        for name, (n, weight) in self.groups.items():
            columns = slice(first, first + n)
            parts[name] = smooth_l1_loss(predicted[:, columns], true[:, columns])
            total, first = total + weight * parts[name], first + n
        return total, parts


def standardised(values: Tensor) -> Tensor:
    """(n, T) with mean 0 and standard deviation 1 over the rows of each column; 0 where all are equal."""
    deviation, mean = torch.std_mean(values.double(), dim=0, unbiased=False)
    return ((values - mean) / deviation.clamp(min=1e-6)).to(values.dtype)


def build(config: MaskedConfig, model: TorchModel, inputs: Inputs) -> Masked:
    """The pretext of a model."""
    return Masked(config, model, inputs)


_OPTIM: dict[str, Any] = {"lr": 2e-3, "weight_decay": 0.01}

SPEC = PretextSpec(
    name="masked",
    summary="Masked point modelling: features, places and surroundings of hidden points (MaskFeat)",
    config=MaskedConfig,
    build=build,
    make_views=make_views,
    presets={
        "default": PretextPreset(pretrain={"steps": 1500}, optim=_OPTIM),
        "tiny": PretextPreset(pretext={"hidden_width": 16}, optim=_OPTIM),
    },
    # Neighbours in EMB2 are 1 unit apart, its layers 4.5 in depth.
    detector_presets={
        "calorimeter": {
            name: PretextPreset(pretext={"cube": 4.0, "noise": 0.5, "radii": (2.0, 6.0)})
            for name in ("default", "tiny")
        }
    },
    reference="arXiv:2112.09133, arXiv:2111.06377, arXiv:2206.00133",
)
