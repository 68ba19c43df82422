"""The model contract: one file in `models/` or `baselines/` per public model, bound to `SPEC`. No torch needed here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmark.contracts.data import Frame, PointBatch
from benchmark.contracts.released import Imported, Released
from benchmark.contracts.task import Task
from benchmark.errors import unknown_name
from benchmark.packages import missing_error, missing_package

# fft: pre-trained, everything trained; peft: pre-trained backbone fixed, published head trained; frozen: backbone
# fixed, linear read-out trained; scratch: no pre-training, everything trained.
Mode = Literal["fft", "peft", "frozen", "scratch"]
MODES: tuple[str, ...] = ("fft", "peft", "frozen", "scratch")


def model_and_mode(text: str) -> tuple[str, str | None]:
    """Model and mode of `polarmae:fft`; None for a model, or a path of its file, alone. Raises UnknownNameError."""
    model, colon, mode = text.strip().partition(":")
    if colon and mode not in MODES:
        raise unknown_name("mode", mode, MODES, f"Correct {text!r}.")
    return model, mode or None


@dataclass(frozen=True)
class Inputs:
    """The description of the data that a model is built for."""

    columns: tuple[str, ...]  # names of the columns of `PointBatch.feats`
    frame: Frame
    event_columns: tuple[str, ...] = ()  # of `PointBatch.whole.feats`

    @property
    def n_features(self) -> int:
        """Number of feature columns C."""
        return len(self.columns)

    @property
    def n_event_features(self) -> int:
        """Number of event columns G."""
        return len(self.event_columns)


SCHEDULES = ("cosine", "constant", "cyclical")
_FROM_ZERO = ("weight_decay", "final_lr_fraction", "clip_norm", "backbone_lr_scale")


@dataclass(frozen=True)
class OptimConfig:
    """How a model is optimised. The number of steps is the benchmark's, the same for every model."""

    optimiser: Literal["adamw", "adam", "sgd"] = "adamw"  # adam: decay is added to the gradient; sgd: with Nesterov
    lr: float = 1e-3  # peak learning rate
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)  # sgd takes the first as its momentum
    warmup_fraction: float = 0.1  # of all steps, linear from lr * final_lr_fraction
    schedule: str = "cosine"  # cosine | constant | cyclical (triangular, one cycle per warm-up length)
    final_lr_fraction: float = 0.05  # learning rate at the last step over the peak one
    clip_norm: float = 3.0  # gradient clipping by global norm; 0 turns it off
    backbone_lr_scale: float = 1.0  # learning rate of pre-trained weights over that of new ones (mode fft)
    decay: Literal["weights", "everything"] = "weights"  # decays matrices only, or biases and norms too

    def __post_init__(self) -> None:
        """Raises ValueError for a value outside its range."""
        ranges = {
            "lr": (self.lr > 0, "more than 0"),
            "betas": (all(0 <= beta < 1 for beta in self.betas), "numbers from 0 to below 1"),
            "warmup_fraction": (0 <= self.warmup_fraction <= 1, "a share from 0 to 1"),
            "schedule": (self.schedule in SCHEDULES, f"one of {', '.join(SCHEDULES)}"),
        }
        ranges |= {name: (getattr(self, name) >= 0, "a number from 0 on") for name in _FROM_ZERO}
        for name, (is_possible, expected) in ranges.items():
            if not is_possible:
                raise ValueError(f"optim.{name}={getattr(self, name)} is not possible; {expected} was expected.")


@dataclass(frozen=True)
class Preset:
    """A named choice of a model's hyper-parameters. Values override the config dataclass's and optimiser's defaults."""

    model: Mapping[str, Any] = field(default_factory=dict)
    optim: Mapping[str, Any] = field(default_factory=dict)
    pretrain_optim: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)  # only published recipes may change the common rule
    pretrain: Mapping[str, Any] = field(default_factory=dict)  # steps, batch_size, events ... of pre-training


@dataclass(frozen=True)
class ModelSpec:
    """What the suite knows of a model without building it.

    `build(config, inputs, task)` returns a `Model`. Presets always hold `default` and `tiny`; `paper` holds the
    published hyper-parameters where there is a publication.
    """

    name: str
    summary: str
    config: type  # frozen dataclass, every field commented
    build: Callable[[Any, Inputs, Task], Model]
    presets: Mapping[str, Preset]
    data: tuple[str, ...] = ("points",)
    levels: tuple[str, ...] = ("point",)
    kinds: tuple[str, ...] = ("classification",)
    detectors: tuple[str, ...] = ()  # only these; empty: any
    tasks: tuple[str, ...] = ()  # only these; empty: any of its levels and kinds
    # by detector and preset: what differs there from `presets`
    detector_presets: Mapping[str, Mapping[str, Preset]] = field(default_factory=dict)
    pretrains: bool = False  # has a self-supervised stage of its own
    has_point_features: bool = False  # which any pretext can train (`TorchModel.point_features`)
    pretext: str | None = None  # that it is trained on unless another one is asked for
    mode_overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # e.g. frozen -> a linear read-out
    reference: str = ""  # paper, section and table
    extras: tuple[str, ...] = ()  # optional packages needed, as import names
    # fields of `config` that change the backbone's computation beyond tensor shapes: a run from a checkpoint must have
    # the same
    backbone_config: tuple[str, ...] = ()
    # fields of `config` that pre-training does not use, such as the sizes of a head and its dropout
    head_config: tuple[str, ...] = ()
    # reads the checkpoints that the publication's own code wrote; raises CheckpointError for unknown content
    import_released: Callable[[Released], Imported] | None = None
    skip: Callable[[Task, str], str | None] = lambda task, device: None  # reason against this task on this device

    def effective_task(self, task: Task) -> Task:
        """The task for this model: models without volumes classify their bright voxels as points."""
        if task.data == "volumes" and "volumes" not in self.data:
            return replace(task, data="points", level="point")
        return task

    def build_model(self, config: Any, inputs: Inputs, task: Task) -> Model:
        """A model with random weights for a task. Raises MissingPackageError."""
        for name in self.extras:
            if missing_package(name):
                raise missing_error(name, self.name)
        return self.build(config, inputs, self.effective_task(task))

    def preset(self, name: str, detector: str) -> Preset:
        """The preset of this name with what differs on a detector. Raises KeyError."""
        base, override = self.presets[name], self.detector_presets.get(detector, {}).get(name, Preset())
        return Preset(**{f.name: {**getattr(base, f.name), **getattr(override, f.name)} for f in fields(Preset)})


class Model(ABC):
    """The interface of any model. Classical baselines derive from this, torch models from `TorchModel`."""

    @abstractmethod
    def fit(self, batches: Iterator[PointBatch[np.ndarray]], task: Task) -> None:
        """Learn from labelled batches; a classical model reads each event once. Torch models use the shared loop."""

    @abstractmethod
    def predict(self, batch: PointBatch) -> np.ndarray:
        """(N, n_classes) or (B, n_classes) float32 scores, larger is likelier; (B, 1) predictions of a regression.

        On volumes: (B, n_classes, Z, Y, X), or (B, 1, Z, Y, X) predicted values, of which the hidden tokens' count.
        """

    @abstractmethod
    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the fitted state to one file, atomically."""

    @abstractmethod
    def load(self, path: Path) -> Mapping[str, str]:
        """Read what `save` wrote, strictly; returns the metadata. Raises CheckpointError."""

    @property
    def n_parameters(self) -> int:
        """Number of fitted parameters."""
        return 0

    @property
    def backends(self) -> Mapping[str, str]:
        """Engine used for each operation, where a model has a choice. Kept in the record."""
        return {}
