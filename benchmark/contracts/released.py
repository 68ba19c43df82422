"""The data exchanged with a model that reads the checkpoints of its own publication. No torch needed here."""

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

    Nothing in it is executed, and no class that it names is looked up.
    """

    state: Mapping[str, Tensor]  # tensors by their original names
    settings: Mapping[str, Any]  # the model's constructor arguments
    data: Mapping[str, Any]  # the data module's; empty where the checkpoint holds none


@dataclass(frozen=True)
class Imported:
    """A released checkpoint in the suite's terms. `convert` raises CheckpointError where tensors do not fit."""

    model_config: Any  # the model's config dataclass, with the checkpoint's values
    stage: Stage
    task: str  # task of its head
    frame: Frame  # how it normalises coordinates
    preprocess: Mapping[str, Any]  # fields of `Preprocess` that the checkpoint fixes
    batch_size: int  # events per batch in training and scoring
    # its tensors under our names, from the state dict of a model built with `model_config`
    convert: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    training: Mapping[str, Any] = field(default_factory=dict)  # facts of its training, for records
