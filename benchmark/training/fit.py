"""Fixed-step training through Lightning: the same rule for every model, exact resume, logs, progress, a time limit."""

from __future__ import annotations

import logging
import math
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader, IterableDataset

from benchmark.config import TrainConfig
from benchmark.contracts import OptimConfig, PointBatch
from benchmark.contracts.torch_model import TorchModel
from benchmark.data.stream import EventSet, training_batch
from benchmark.errors import BenchmarkError, CheckpointError
from benchmark.progress import progress
from benchmark.training.module import Training


@dataclass(frozen=True)
class FitReport:
    """What a stage of training did."""

    steps: int  # optimiser steps done, those before a resume included
    n_steps: int  # asked for
    resumed_at: int  # first step of this process
    first_loss: float | None  # None: no step was made
    last_loss: float | None  # mean over the last tenth of the steps
    grad_norm: float | None  # mean over the same steps, before clipping

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
    deadline: float | None = None,
) -> FitReport:  # fmt: skip
    """Train `model` in place for `train.steps` steps. Training states and logs go to `folder`.

    With `resume`, continues from the last state in `folder` and ends with the weights of an uninterrupted run; without,
    states found there are deleted. `deadline`, of `time.monotonic()`, ends training early, but not before one
    step. Raises BenchmarkError where the loss is no longer a number.
    """
    _quiet()
    if not resume:
        forget_states(folder)
    state = last_state(folder)
    start = 0 if state is None else _step_of(state)
    module = Training(model, optim, train.steps, seed, stage, frozen)
    watch = _Watch(train.steps, title)
    states = _States(folder, train.checkpoint_every, train.steps, deadline)
    trainer = lightning.Trainer(
        accelerator="gpu" if hardware.device == "cuda" else "cpu", devices=1, max_epochs=1, max_steps=train.steps,
        precision="bf16-mixed" if hardware.precision == "bf16" else "32-true",
        gradient_clip_val=optim.clip_norm or None, callbacks=[watch, states], log_every_n_steps=1,
        logger=[
            CSVLogger(folder, name="csv", version=f"from-step-{start}"),  # a resumed run does not erase earlier rows
            TensorBoardLogger(folder, name="tensorboard", version=""),
        ],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )  # fmt: skip
    stream = _Steps(events, train, seed, stage, start)
    with watch, _interruptible():
        trainer.fit(module, DataLoader(stream, batch_size=None), ckpt_path=str(state) if state else None)
    model.requires_grad_(True)
    return watch.report(trainer.global_step, train.steps, start)


def last_state(folder: Path) -> Path | None:
    """The latest training state in a folder that can be read, if there is one. Damaged ones are deleted, and named."""
    for path in reversed(_states_in(folder)):
        try:
            torch.load(path, map_location="cpu", weights_only=True)
        except (
            Exception
        ) as error:  # torch names damage in many ways: EOFError, RuntimeError, UnpicklingError, KeyError ...
            print(
                f"{path} is damaged ({type(error).__name__}): training goes on from an earlier state", file=sys.stderr
            )
            path.unlink(missing_ok=True)
        else:
            return path
    return None


def forget_states(folder: Path) -> None:
    """Delete the training states of a folder: what they led to is kept elsewhere, or not wanted."""
    for path in _states_in(folder):
        path.unlink(missing_ok=True)


class _Steps(IterableDataset):
    """Batches from one step on. Each is a function of its step, so nothing has to be saved to resume."""

    def __init__(self, events: EventSet, train: TrainConfig, seed: int, stage: str, start: int) -> None:
        self.events, self.train, self.seed, self.stage, self.start = events, train, seed, stage, start

    def __iter__(self) -> Iterator[PointBatch]:
        for step in range(self.start, self.train.steps):
            yield training_batch(
                self.events, step, self.train.batch_size, self.seed, self.stage, rotation=self.train.rotation
            )


class _States(Callback):
    """Saves training states: every so many steps, after the last one, when the time is over. Keeps the latest two."""

    def __init__(self, folder: Path, every: int, n_steps: int, deadline: float | None) -> None:
        self.folder, self.every, self.n_steps, self.deadline = folder, every, n_steps, deadline

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        step = trainer.global_step
        if self.deadline is not None and time.monotonic() >= self.deadline:
            trainer.should_stop = True
        if step % self.every == 0 or step == self.n_steps or trainer.should_stop:
            trainer.save_checkpoint(self.folder / f"step={step:08d}.ckpt")
            for path in _states_in(self.folder)[:-2]:
                path.unlink(missing_ok=True)


class _Watch(Callback):
    """Shows progress and keeps losses and gradient norms for the record, over interruptions too."""

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
        if not math.isfinite(self.losses[-1]):
            raise BenchmarkError(
                f"The training loss is {self.losses[-1]} at step {trainer.global_step}. A finite one was expected. "
                f"Lower the learning rate, for example with --set optim.lr=1e-4."
            )
        self._bar.update(trainer.global_step, f"loss {self.losses[-1]:.4f}")

    def state_dict(self) -> dict[str, Any]:
        return {"losses": self.losses, "norms": self.norms}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.losses, self.norms = list(state["losses"]), list(state["norms"])

    def report(self, steps: int, n_steps: int, start: int) -> FitReport:
        if not self.losses:
            return FitReport(steps, n_steps, start, None, None, None)
        tail = slice(-max(1, len(self.losses) // 10), None)
        last, norm = (sum(v[tail]) / len(v[tail]) for v in (self.losses, self.norms))
        return FitReport(steps, n_steps, start, self.losses[0], last, norm)


def _norm(grads: list[torch.Tensor]) -> torch.Tensor:
    total: torch.Tensor = torch.stack([g.norm() for g in grads]).norm()
    return total


def _states_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("step=*.ckpt"), key=_step_of)


def _step_of(state: Path) -> int:
    try:
        return int(state.stem.removeprefix("step="))
    except ValueError as error:
        raise CheckpointError(
            f"{state} is not one of the suite's training states. `step=<number>.ckpt` was expected. Delete it."
        ) from error


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lightning turns Ctrl-C into a silent exit with code 1, and ignores the next one. Give it back to the caller."""
    try:
        yield
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from error


def _quiet() -> None:
    """Lightning's banners and hints are not for the suite's users."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")
    warnings.filterwarnings(
        "ignore", message=".*num_workers.*|.*IterableDataset.*|.*litlogger.*|.*isinstance.treespec.*"
    )
