"""Contrast: the same place of an event in two views should be alike, and unlike all other places.

Points of two large views that lie close together in the event are pairs; each point has to find its partner among those
of all other pairs of the step (InfoNCE; van den Oord et al., arXiv:1807.03748). For points: PointContrast (Xie et al.,
arXiv:2007.10985), whose number of pairs and temperature are those of `paper`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.contracts import Inputs, PointBatch, TorchModel
from benchmark.contracts.pretext import PretextPreset, PretextSpec
from benchmark.contracts.pretext_training import Pretext
from benchmark.pretexts._views import Rescale, ViewConfig, cut_views, matches, places


@dataclass(frozen=True)
class ContrastConfig(ViewConfig):
    """Views, pairs and the embedding. Lengths are in coordinate units."""

    n_local: int = 0  # small views are not used
    pairs: int = 1024  # of a step; all, where there are fewer
    match_radius: float = 2.0  # points of two views are a pair where they are this close in the event
    temperature: float = 0.1
    hidden_width: int = 128  # of the perceptron in front of the embedding
    embedding: int = 64  # channels of the normalised embedding

    def __post_init__(self) -> None:
        self._check_views()
        if self.n_local or self.n_global != 2:
            raise ValueError(
                f"n_global={self.n_global} with n_local={self.n_local} is not possible. Two large views alone were "
                f"expected."
            )
        for name in ("pairs", "match_radius", "temperature", "hidden_width", "embedding"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} is not possible. More than 0 was expected.")


def make_views(
    config: ContrastConfig, batch: PointBatch[np.ndarray], progress: float, rngs: Sequence[np.random.Generator],
    rescale: Rescale | None = None,
) -> PointBatch[np.ndarray]:  # fmt: skip
    """Two large views of each event, one after the other."""
    return cut_views(config, batch, rngs, rescale)


class Contrast(Pretext):
    """The embedding, and its loss."""

    def __init__(self, config: ContrastConfig, model: TorchModel, inputs: Inputs) -> None:
        super().__init__()
        c = self.config = config
        self.projector = nn.Sequential(
            nn.Linear(model.place_width, c.hidden_width), nn.GELU(), nn.Linear(c.hidden_width, c.embedding)
        )

    def loss(self, model: TorchModel, batch: PointBatch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """InfoNCE in both directions; `found`: share of the points that are nearest to their partner."""
        found = places(model, batch)
        first, second = self._pairs(found, batch.n_events)
        one, other = (functional.normalize(self.projector(found.features[i].float()), dim=1) for i in (first, second))
        if not len(first):
            return self.projector(found.features.float()).sum() * 0, {}
        logits = one @ other.T / self.config.temperature
        partner = torch.arange(len(first), device=logits.device)
        loss = (functional.cross_entropy(logits, partner) + functional.cross_entropy(logits.T, partner)) / 2
        return loss, {"found": (logits.argmax(dim=1) == partner).float().mean()}

    def _pairs(self, found: Any, n_views: int) -> tuple[Tensor, Tensor]:
        """Rows of the pairs' two sides: all matches, or as many as configured, drawn at random."""
        sides = []
        for view in range(0, n_views, 2):
            mine, theirs = found.rows(view), found.rows(view + 1)
            near, row = matches(found.coords[mine], found.coords[theirs], self.config.match_radius)
            sides.append(torch.stack([mine[near], theirs[row]]))
        pairs = torch.cat(sides, dim=1)
        chosen = torch.randperm(pairs.shape[1], device=pairs.device)[: self.config.pairs]
        first, second = pairs[:, chosen]
        return first, second


def build(config: ContrastConfig, model: TorchModel, inputs: Inputs) -> Contrast:
    """The pretext of a model."""
    return Contrast(config, model, inputs)


_OPTIM: dict[str, Any] = {"lr": 2e-3, "weight_decay": 0.01}
_CALORIMETER: dict[str, Any] = {
    "motion": "mirror", "energy_jitter": 0.0, "jitter": 0.05, "jitter_limit": 0.2, "match_radius": 0.5,
}  # fmt: skip

SPEC = PretextSpec(
    name="contrast",
    summary="Matched points of two views against all others: InfoNCE (PointContrast)",
    config=ContrastConfig,
    build=build,
    make_views=make_views,
    presets={
        "default": PretextPreset(pretrain={"steps": 1500}, optim=_OPTIM),
        "tiny": PretextPreset(pretext={"pairs": 64, "hidden_width": 16, "embedding": 8}, optim=_OPTIM),
        "paper": PretextPreset(pretext={"pairs": 4092, "temperature": 0.07}, pretrain={"steps": 60_000}, optim=_OPTIM),
    },
    detector_presets={
        "calorimeter": {name: PretextPreset(pretext=_CALORIMETER) for name in ("default", "tiny", "paper")}
    },
    reference="arXiv:2007.10985, section 3; arXiv:1807.03748",
)
