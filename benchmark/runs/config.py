"""`Request`, what the user typed, and `RunConfig`: all that decides a run's result, resolved and frozen."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from benchmark.checkpoints.shipped import Shipped
from benchmark.contracts import OptimConfig, Task
from benchmark.contracts.pretext import method_name
from benchmark.data.preparation import Preparation
from benchmark.paths import shown_path
from benchmark.settings import as_dict
from benchmark.training.config import PretrainConfig, ProbeConfig, TrainConfig

DEFAULT_TASK = "lartpc-segmentation"
SPLITS = ("test", "val")  # that a run can score


@dataclass(frozen=True)
class RunConfig:
    """What is run. Equal configurations on equal data and code have equal fingerprints."""

    task: Task
    dataset: str
    data: Any  # the dataset's own settings
    preprocess: Preparation
    model: str
    preset: str
    model_config: Any  # the model's own settings
    optim: OptimConfig
    train: TrainConfig
    labels: int | None  # labelled events; None means all
    mode: str
    draw: int
    seed: int
    pretrain: PretrainConfig | None = None  # None: this mode or model has no pre-training
    pretrain_optim: OptimConfig | None = None
    checkpoint: str | None = None  # path of pre-trained weights given by the user, instead of pre-training
    checkpoint_sha256: str | None = None
    weights: Shipped | None = None  # pre-trained weights of the package, instead of pre-training
    probe: ProbeConfig | None = None  # only of tasks at the level of tokens, which train nothing else
    pretext: str | None = None  # what a backbone is pre-trained on; None: nothing, or the model's own
    pretext_config: Any = None  # the pretext's own settings
    split: str = SPLITS[0]  # that is scored

    @property
    def method(self) -> str:
        """Model and pretext, as tables show them: `gnn+masked`."""
        return method_name(self.model, self.pretext)

    @property
    def starts_pretrained(self) -> bool:
        """Whether the backbone's weights come from pre-training: the user's, the package's, cached or new."""
        return self.pretrain is not None or self.weights is not None

    @property
    def trains(self) -> bool:
        """Whether anything is trained after pre-training."""
        return self.probe is None and not (self.task.self_supervised and self.mode == "frozen")

    @property
    def scored_split(self) -> str:
        """The split that decides the score: the one asked for, and the validation split under a published protocol."""
        return "val" if self.probe is not None and self.probe.protocol == "published" else self.split

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        checkpoint = None if self.checkpoint is None else shown_path(self.checkpoint)
        plain = as_dict(dataclasses.replace(self, weights=None, checkpoint=checkpoint))
        if self.pretext is None:  # as in records of the time before there were pretexts
            del plain["pretext"], plain["pretext_config"]
        if self.split == SPLITS[0]:  # as in records of the time before another one could be asked for
            del plain["split"]
        used = self.weights
        return {**plain, "weights": None if used is None else {"name": used.name, "sha256": used.sha256}}


@dataclass(frozen=True)
class Request:
    """What the user typed, before presets and defaults are filled in."""

    model: str
    task: str = DEFAULT_TASK
    dataset: str | None = None
    preset: str = "default"
    labels: int | str = 100  # labelled events; `all` for every one
    mode: str | None = None
    draw: int = 0
    seed: int = 0
    checkpoint: str | None = None
    assignments: tuple[str, ...] = ()
    pretrain: bool = False  # although weights ship with the package
    pretext: str | None = None  # name or path; None: the model's own, if it has one
    split: str = SPLITS[0]  # that is scored
