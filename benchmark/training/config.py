"""Settings of training, pre-training and the token probe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmark.data.augment import ROTATIONS


@dataclass(frozen=True)
class TrainConfig:
    """Supervised training. One rule for every model and every budget: this many steps, then the last weights."""

    steps: int = 300  # optimiser steps
    batch_size: int = 8  # events per step
    # event: a uniform one per event and step | lattice: one of the 24 that keep voxels | batch: one for all | mirror:
    # reflections in the first two coordinates | none
    rotation: str = "event"
    precision: str = "auto"  # auto | 32 | bf16; auto is bf16 on GPUs, 32 on CPUs
    checkpoint_every: int = 50  # steps between the states that an interrupted run resumes from

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"train.{name}={getattr(self, name)} is not possible. A number from 1 on was expected."
                )
        if self.rotation not in ROTATIONS:
            raise ValueError(f"rotation={self.rotation!r} is not known. One of {', '.join(ROTATIONS)} was expected.")
        if self.precision not in ("auto", "32", "bf16"):
            raise ValueError(f"precision={self.precision!r} is not known. One of auto, 32, bf16 was expected.")


@dataclass(frozen=True)
class PretrainConfig(TrainConfig):
    """Self-supervised training on unlabelled events of the training split. Done once, reused by every label budget."""

    steps: int = 250  # optimiser steps
    events: int = 2000  # maximum of unlabelled events; 0 takes all of the training split


@dataclass(frozen=True)
class ProbeConfig:
    """A linear probe of frozen tokens; see `benchmark.evaluation.token_probe` for the protocols."""

    c: float = 0.005  # of the linear SVM: a smaller one regularises more
    components: int = 128  # principal components of the features, at most
    max_tokens: int = 15_000  # training tokens at most; and scored ones, under `published`
    protocol: Literal["clean", "published"] = "clean"

    def __post_init__(self) -> None:
        for name in ("c", "components", "max_tokens"):
            if not getattr(self, name) > 0:
                raise ValueError(f"probe.{name}={getattr(self, name)} is not possible. More than 0 was expected.")
