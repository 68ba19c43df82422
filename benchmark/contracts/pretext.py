"""The pretext contract: one file in `pretexts/` per self-supervised task, bound to `SPEC`. No torch needed here.

A pretext is to a backbone what a task is to it: any model with features of points can be trained on any pretext.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.contracts.data import PointBatch
from benchmark.contracts.model import Inputs, OptimConfig

if TYPE_CHECKING:
    from benchmark.contracts.pretext_training import Pretext
    from benchmark.contracts.torch_model import TorchModel

# Column that a model gets with any pretext: 1 for points whose features are hidden, 0 in all later use. Its weights in
# a first linear layer are the mask token of the literature.
HIDDEN = "hidden"


def method_name(model: str, pretext: str | None) -> str:
    """`gnn+masked`: a backbone and what it was pre-trained on, as `sweep` takes it and tables show it."""
    return model if pretext is None else f"{model}+{pretext}"


def model_and_pretext(method: str) -> tuple[str, str | None]:
    """The inverse of `method_name`."""
    model, plus, pretext = method.partition("+")
    return model, pretext if plus else None


@dataclass(frozen=True)
class PretextOptim(OptimConfig):
    """How a backbone is optimised on a pretext."""

    final_weight_decay: float | None = None  # weight decay at the last step, along a cosine; None: constant
    layer_decay: float = 1.0  # factor of the learning rate from each of the backbone's layers to the one before

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.final_weight_decay is not None and self.final_weight_decay < 0:
            raise ValueError(f"optim.final_weight_decay={self.final_weight_decay} is not possible. 0 or more expected.")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"optim.layer_decay={self.layer_decay} is not possible. Above 0 and up to 1 was expected.")


@dataclass(frozen=True)
class PretextPreset:
    """A named choice of a pretext's settings. Values override the config dataclass's and optimiser's defaults."""

    pretext: Mapping[str, Any] = field(default_factory=dict)
    pretrain: Mapping[str, Any] = field(default_factory=dict)  # steps, batch_size, events ...
    optim: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PretextSpec:
    """What the suite knows of a pretext without building it.

    `make_views(config, batch, progress, rngs, rescale)` turns a batch of events (numpy) into the batch of views that
    the loss reads; `progress` is the share of the steps done, `rngs` holds one generator per event, and
    `rescale(batch, factors)` multiplies the energies of events, their columns included (None where the detector's
    columns cannot follow). It runs where batches are loaded, so it may not need weights. `build(config, model, inputs)`
    returns the `Pretext` of a model; `inputs` are the columns of the data.
    """

    name: str
    summary: str
    config: type  # frozen dataclass, every field commented
    build: Callable[[Any, TorchModel, Inputs], Pretext]
    make_views: Callable[..., PointBatch[np.ndarray]]
    presets: Mapping[str, PretextPreset]  # holds `default` and `tiny`, and `paper` where there is a publication
    # by detector and preset: what differs there from `presets`
    detector_presets: Mapping[str, Mapping[str, PretextPreset]] = field(default_factory=dict)
    reference: str = ""

    def preset(self, name: str, detector: str) -> PretextPreset:
        """The preset of this name with what differs on a detector; `default` where a pretext has none of this name."""
        base = self.presets.get(name, self.presets["default"])
        override = self.detector_presets.get(detector, {}).get(name, PretextPreset())
        return PretextPreset(
            **{f.name: {**getattr(base, f.name), **getattr(override, f.name)} for f in fields(PretextPreset)}
        )
