"""The task contract: what is predicted, from which labels, and how it is counted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

LOSSES = {
    "classification": ("focal", "cross_entropy", "dice", "dice_cross_entropy"),
    "regression": ("mae", "huber", "mse"),
}


@dataclass(frozen=True)
class Loss:
    """The training loss of models without their own. Raises ValueError for values outside their range."""

    # of classes: focal | cross_entropy (weighted by `positive_weight` or the task's class weights) | dice
    # | dice_cross_entropy, their sum; of a regression: mae | huber | mse
    kind: str = "focal"
    gamma: float = 2.0  # exponent of the focal loss
    positive_weight: float = 1.0  # of the first class where labels are fractions, of the last one of two otherwise
    energy_power: float = 0.0  # points are weighted by energy to this power, scaled to a mean of 1; 0: equally

    def __post_init__(self) -> None:
        known = [kind for kinds in LOSSES.values() for kind in kinds]
        if self.kind not in known:
            raise ValueError(f"kind={self.kind!r} is not known. One of {', '.join(known)} was expected.")
        for name in ("gamma", "energy_power", "positive_weight"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0) or (name == "positive_weight" and not value):
                raise ValueError(f"{name}={value} is not possible. A finite number above 0 was expected.")


@dataclass(frozen=True)
class Task:
    """What every model of a benchmark predicts, and how it is scored.

    The version increases whenever its counting changes: scores of different versions never share a table.
    """

    name: str
    version: int
    summary: str
    data: Literal["points", "volumes"]  # kind of input
    level: Literal["point", "token", "event", "volume"]  # token: which classes its points have, read by a probe
    kind: Literal["classification", "regression"]
    label: str  # name of the label in `Event.labels`
    classes: tuple[str, ...] = ()
    self_supervised: bool = False  # the label is a part of the input that was hidden from the model
    drop_classes: tuple[int, ...] = ()  # points of these label values are removed before the model sees the event
    primary_metric: str = "macro_f1"
    class_weights: tuple[float, ...] | None = None  # of the training loss, one per class
    ignore_index: int = -1
    reference: str = ""
    detector: str = "lartpc"  # lartpc | calorimeter | lif: decides cuts, features and units
    dataset: str = "lartpc-sim"  # default source of events
    sample: str = "event"  # what one "event" of the task is: event | cluster | track | association
    metrics: str = "segmentation"  # family of scores, see `benchmark.metrics.families`
    smaller_is_better: bool = False  # of the primary metric
    floor: str = "majority"  # the baseline that `run` shows beside a model
    soft: bool = False  # labels of points are fractions (N, C), not classes
    auxiliary: tuple[str, ...] = ()  # further labels of events, for models that learn several things, and for scores
    loss: Loss = field(default_factory=Loss)
    train: Mapping[str, Any] = field(default_factory=dict)  # fields of TrainConfig: one rule for every model
    pretrain: Mapping[str, Any] = field(default_factory=dict)  # of PretrainConfig

    @property
    def is_labelled_by_point(self) -> bool:
        """Whether the label is one per point, not one per event."""
        return self.level in ("point", "token")

    @property
    def n_outputs(self) -> int:
        """Scores per point, event or voxel."""
        return len(self.classes) if self.kind == "classification" else 1
