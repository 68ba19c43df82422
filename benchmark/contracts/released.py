"""What passes between the suite and a model that reads the checkpoints of its own publication. No torch needed here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from benchmark.contracts.data import Frame

if TYPE_CHECKING:
    from torch import Tensor

Stage = Literal["pretrain", "finetune"]  # pretrain: self-supervised weights; finetune: a head that predicts as well


@dataclass(frozen=True)
class Released:
    """A checkpoint of a published implementation as plain data: texts, numbers, lists, dictionaries and tensors.

    Nothing in it was executed, and no class that it names was looked up.
    """

    state: Mapping[str, Tensor]  # tensors by their names there
    settings: Mapping[str, Any]  # the model's constructor arguments
    data: Mapping[str, Any]  # the data module's; empty where the checkpoint holds none


@dataclass(frozen=True)
class Imported:
    """What a model understood of a released checkpoint. `convert` raises CheckpointError where tensors do not fit."""

    model_config: Any  # the model's own config dataclass, as the checkpoint was trained
    stage: Stage
    task: str  # what its head predicts, or would
    frame: Frame  # how it normalises coordinates
    preprocess: Mapping[str, Any]  # fields of `Preprocess` that the checkpoint fixes
    batch_size: int  # events per batch that it was trained and scored with
    # its tensors under our names, from the state dict of a model built with `model_config`
    convert: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    training: Mapping[str, Any] = field(default_factory=dict)  # what it says of its training, for records
