"""Fixed-step training through Lightning: the same rule for every model, exact resume, logs, progress, a time limit."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, Timer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader, IterableDataset

from benchmark.config import TrainConfig
from benchmark.contracts import OptimConfig, PointBatch
from benchmark.contracts.torch_model import TorchModel
from benchmark.data.stream import EventSet, training_batch
from benchmark.errors import CheckpointError
from benchmark.progress import progress
from benchmark.training.module import Training


@dataclass(frozen=True)
class FitReport:
    """What a stage of training did."""

    steps: int  # optimiser steps done, those before a resume included
    n_steps: int  # asked for
    resumed_at: int  # first step of this process
    first_loss: float
    last_loss: float  # mean over the last tenth of the steps of this process
    grad_norm: float  # mean over the same steps, before clipping

    @property
    def stopped(self) -> bool:
        """Ended by the time limit."""
        return self.steps < self.n_steps


@dataclass(frozen=True)
class Hardware:
    """Where training runs."""

    device: str  # cpu | cuda
    precision: str  # 32 | bf16


def fit(
    model: TorchModel, events: EventSet, train: TrainConfig, optim: OptimConfig, *, stage: str, seed: int,
    hardware: Hardware, folder: Path, title: str, frozen: bool = False, resume: bool = True,
    max_minutes: float | None = None,
) -> FitReport:  # fmt: skip
    """Train `model` in place for `train.steps` steps. Checkpoints and logs go to `folder`.

    With `resume`, continues from the last checkpoint in `folder` and ends with the weights of an uninterrupted run.
    """
    _quiet()
    checkpoint = last_checkpoint(folder) if resume else None
    start = _step_of(checkpoint)
    module = Training(model, optim, train.steps, seed, stage, frozen)
    watch = _Watch(train.steps, title)
    saver = ModelCheckpoint(folder, filename="{step:08d}", every_n_train_steps=train.checkpoint_every, save_top_k=1)
    callbacks: list[Callback] = [watch, saver]
    if max_minutes is not None:
        callbacks.append(Timer(timedelta(minutes=max_minutes), verbose=False))
    trainer = lightning.Trainer(
        accelerator="gpu" if hardware.device == "cuda" else "cpu", devices=1, max_epochs=1, max_steps=train.steps,
        precision="bf16-mixed" if hardware.precision == "bf16" else "32-true",
        gradient_clip_val=optim.clip_norm or None, callbacks=callbacks, log_every_n_steps=1,
        logger=[CSVLogger(folder, name="csv", version=""), TensorBoardLogger(folder, name="tensorboard", version="")],
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False,
    )  # fmt: skip
    stream = _Steps(events, train, seed, stage, start)
    with watch:
        trainer.fit(module, DataLoader(stream, batch_size=None), ckpt_path=str(checkpoint) if checkpoint else None)
    model.requires_grad_(True)
    return watch.report(trainer.global_step, train.steps, start)


def last_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the latest step in a folder, if there is one."""
    return max(sorted(folder.glob("step=*.ckpt")), key=_step_of, default=None)


class _Steps(IterableDataset):
    """Batches from one step on. Each is a function of its step, so nothing has to be saved to resume."""

    def __init__(self, events: EventSet, train: TrainConfig, seed: int, stage: str, start: int) -> None:
        self.events, self.train, self.seed, self.stage, self.start = events, train, seed, stage, start

    def __iter__(self) -> Iterator[PointBatch]:
        for step in range(self.start, self.train.steps):
            yield training_batch(
                self.events, step, self.train.batch_size, self.seed, self.stage, rotated=self.train.rotate
            )


class _Watch(Callback):
    """Shows progress and keeps losses and gradient norms for the record."""

    def __init__(self, n_steps: int, title: str) -> None:
        self.losses: list[float] = []
        self.norms: list[float] = []
        self._progress = progress(title, n_steps)

    def __enter__(self) -> None:
        self._bar = self._progress.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._progress.__exit__(*error)

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        grads = [p.grad for p in module.parameters() if p.grad is not None]
        norms = torch.nn.utils.get_total_norm(grads) if hasattr(torch.nn.utils, "get_total_norm") else _norm(grads)
        self.norms.append(float(norms))

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        self.losses.append(float(outputs["loss"]))
        self._bar.update(trainer.global_step, f"loss {self.losses[-1]:.4f}")

    def report(self, steps: int, n_steps: int, start: int) -> FitReport:
        if not self.losses:
            return FitReport(steps, n_steps, start, float("nan"), float("nan"), float("nan"))
        tail = slice(-max(1, len(self.losses) // 10), None)
        last, norm = (sum(v[tail]) / len(v[tail]) for v in (self.losses, self.norms))
        return FitReport(steps, n_steps, start, self.losses[0], last, norm)


def _norm(grads: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack([g.norm() for g in grads]).norm()


def _step_of(checkpoint: Path | None) -> int:
    if checkpoint is None:
        return 0
    try:
        return int(checkpoint.stem.removeprefix("step="))
    except ValueError as error:
        raise CheckpointError(
            f"{checkpoint} is not one of the suite's training states. `step=<number>.ckpt` was expected. Delete it."
        ) from error


def _quiet() -> None:
    """Lightning's banners and hints are not for the suite's users."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")
    warnings.filterwarnings(
        "ignore", message=".*num_workers.*|.*IterableDataset.*|.*litlogger.*|.*isinstance.treespec.*"
    )
