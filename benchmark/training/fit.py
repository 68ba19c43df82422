"""Fixed-step training through Lightning: the same rule for every model, exact resume, logs, progress, time limit.

On several devices (torchrun, srun) the batch of a step holds the same events as on one; each process takes its share.
"""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from benchmark.contracts import OptimConfig, PointBatch
from benchmark.contracts.torch_model import TorchModel
from benchmark.data.stream import EventSet, training_batch
from benchmark.errors import BenchmarkError, CheckpointError, ConfigError, one_line
from benchmark.hardware.distributed import Processes, from_first, join, others_needed
from benchmark.hardware.environment import usable_cores
from benchmark.hardware.memory import memory_explained
from benchmark.hardware.signals import end_with_parent
from benchmark.seeding import generator
from benchmark.training.ahead import Ahead
from benchmark.training.callbacks import MAX_POINTS, Probe, Probing, StateFiles, States, Watch
from benchmark.training.config import TrainConfig
from benchmark.training.module import Training
from benchmark.training.states import delete_checkpoints, last_state, step_of

# views of a batch, from the share of the steps done and a generator for each of its events
ViewMaker = Callable[[PointBatch[np.ndarray], float, Sequence[np.random.Generator]], PointBatch[np.ndarray]]
MAX_LOADERS = 8  # processes that prepare batches for one GPU


@dataclass(frozen=True)
class FitReport:
    """Result of a training stage."""

    steps: int  # optimiser steps done, those before a resume included
    n_steps: int  # requested
    resumed_at: int  # first step of this process
    first_loss: float | None  # None: no steps
    last_loss: float | None  # mean over the last tenth of the steps
    grad_norm: float | None  # mean over the same steps, before clipping
    wall_s: float = 0.0  # of all steps, those before a resume and probes included
    history: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # see `Watch.history`
    probe: Sequence[Mapping[str, Any]] = ()  # step and scores of each probe

    @property
    def stopped(self) -> bool:
        """Ended by the time limit."""
        return self.steps < self.n_steps

    def facts(self) -> dict[str, Any]:
        """Values independent of the machine's speed, without the curves."""
        return {k: v for k, v in asdict(self).items() if k not in ("wall_s", "history", "probe")}


@dataclass(frozen=True)
class Hardware:
    """Where training runs."""

    device: str  # cpu | cuda
    precision: str  # 32 | bf16
    compiled: bool = False  # the model's `parts_to_compile`

    @classmethod
    def of(cls, environment: Mapping[str, Any], precision: str) -> Hardware:
        """From a record's `environment`, with the stage's precision."""
        return cls(environment["device"], precision, environment.get("compiled", False))


def fit(
    model: TorchModel, events: EventSet, train: TrainConfig, optim: OptimConfig, *, stage: str, seed: int,
    hardware: Hardware, folder: Path, title: str, frozen: bool = False, resume: bool = True,
    deadline: float | None = None, probe: Probe | None = None, probe_every: int = 0, views: ViewMaker | None = None,
) -> FitReport:  # fmt: skip
    """Train `model` in place for `train.steps` steps. Training states and logs go to `folder`.

    With `resume`, continues from the last state in `folder` and gives the weights of an uninterrupted run; otherwise
    existing states are deleted. `deadline`, of `time.monotonic()`, ends training early, after at least one
    step. `probe(model)` gives scores before the first step, every `probe_every` steps (0: never) and at the end,
    without effect on training. `views` makes the views of a pretext from a batch. Raises BenchmarkError where the loss
    is not finite.
    """
    _silence_lightning()
    group = join(hardware.device)
    if train.batch_size < group.n:
        raise ConfigError(
            f"{stage}: batch_size={train.batch_size} cannot be split over {group.n} processes. At least one event for "
            f"each was expected. Raise --set train.batch_size and pretrain.batch_size, or start fewer processes."
        )
    state = from_first(lambda: _resume_state(folder, resume))
    start = 0 if state is None else step_of(state)
    module = Training(model, optim, train.steps, seed, stage, frozen)
    watch = Watch(train.steps, title, MAX_POINTS[stage], folder)
    probing = Probing(probe, probe_every, train.steps) if probe is not None and probe_every else None
    states = States(folder, train.checkpoint_every, train.steps, deadline)  # last: saves the other callbacks' numbers
    trainer = lightning.Trainer(
        max_epochs=1, max_steps=train.steps, precision="bf16-mixed" if hardware.precision == "bf16" else "32-true",
        log_every_n_steps=1 if hardware.device == "cpu" else 20,  # a GPU waits for each log
        callbacks=[c for c in (watch, probing, states) if c is not None],
        logger=[
            CSVLogger(folder, name="csv", version=f"from-step-{start}"),  # keeps the rows of earlier runs
            TensorBoardLogger(folder, name="tensorboard", version=""),
        ],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        use_distributed_sampler=False, **_trainer_devices(hardware.device, group),
    )  # fmt: skip
    stream = _StepBatches(events, train, seed, stage, start, group, views)
    with watch, _raise_interrupts(), _compile_parts(model, hardware.compiled), _memory(stage, train.batch_size):
        loader: Any = _loader(stream, hardware.device, group)
        if hardware.device == "cuda":
            loader = Ahead(loader, model, stage, seed, start, group.rank)
        told = others_needed(lambda: f" after step {trainer.global_step} of the {stage} stage")
        with _blame_state(state, watch), told:
            trainer.fit(module, loader, ckpt_path=str(state) if state else None)
    model.requires_grad_(True)
    return _report(watch, probing, trainer.global_step, train.steps, start)


@contextmanager
def _compile_parts(model: TorchModel, enabled: bool) -> Iterator[None]:
    """Compiled parts inside the block, restored afterwards: scores are computed uncompiled."""
    parts = list(model.parts_to_compile()) if enabled else []
    for part in parts:
        part.compile(dynamic=True)  # not `fullgraph`: where torch gives up, training goes on uncompiled
    try:
        yield
    finally:
        for part in parts:
            part._compiled_call_impl = None  # set by `compile`; torch cannot undo it


def _resume_state(folder: Path, resume: bool) -> Path | None:
    if not resume:
        delete_checkpoints(folder)
    return last_state(folder)


def _trainer_devices(device: str, group: Processes) -> dict[str, Any]:
    """One device; or one for each process that torchrun or srun has started."""
    accelerator = "gpu" if device == "cuda" else "cpu"
    if group.n == 1:  # explicit, or Lightning detects a cluster itself
        return {"accelerator": accelerator, "devices": 1, "plugins": [LightningEnvironment(), StateFiles()]}
    return {
        "accelerator": accelerator, "devices": group.n_local, "num_nodes": group.n_machines,
        "strategy": DDPStrategy(find_unused_parameters=False), "plugins": [TorchElasticEnvironment(), StateFiles()],
    }  # fmt: skip


def _loader(stream: _StepBatches, device: str, group: Processes) -> DataLoader:
    """Batches by step. For a GPU, worker processes prepare every n-th each."""
    if device == "cpu":
        return DataLoader(stream, batch_size=None)
    n = max(1, min(MAX_LOADERS, usable_cores() // group.n_local - 1))
    return DataLoader(stream, batch_size=None, num_workers=n, pin_memory=True, worker_init_fn=_set_up_loader)


def _set_up_loader(worker: int) -> None:
    end_with_parent()


class _StepBatches(IterableDataset):
    """Batches from a step on. Each depends on its step only, so resuming needs no saved state."""

    def __init__(
        self, events: EventSet, train: TrainConfig, seed: int, stage: str, start: int, group: Processes,
        views: ViewMaker | None = None,
    ) -> None:  # fmt: skip
        self.events, self.train, self.seed, self.stage, self.start = events, train, seed, stage, start
        self.views = views
        self.share = (group.rank, group.n)

    def __iter__(self) -> Iterator[PointBatch | BenchmarkError]:
        worker = get_worker_info()
        if worker is None:
            yield from map(self._batch, range(self.start, self.train.steps))
            return
        for step in range(self.start + worker.id, self.train.steps, worker.num_workers):
            try:
                yield self._batch(step)
            except BenchmarkError as error:  # torch would wrap it in a worker's traceback; `Training` raises it
                yield error
                return

    def _batch(self, step: int) -> PointBatch:
        batch = training_batch(
            self.events, step, self.train.batch_size, self.seed, self.stage, rotation=self.train.rotation,
            share=self.share,
        )  # fmt: skip
        if self.views is None:
            return batch
        rows = range(self.train.batch_size)[slice(self.share[0], None, self.share[1])]
        return self.views(batch, step / self.train.steps, [generator("views", self.seed, step, row) for row in rows])


def _report(watch: Watch, probing: Probing | None, steps: int, n_steps: int, start: int) -> FitReport:
    probe_scores = () if probing is None else tuple(probing.history)
    if not watch.losses:
        return FitReport(steps, n_steps, start, None, None, None)
    tail = slice(-max(1, len(watch.losses) // 10), None)
    last, norm = (sum(v[tail]) / len(v[tail]) for v in (watch.losses, watch.norms))
    wall = round(watch.wall_s, 2)
    return FitReport(steps, n_steps, start, watch.losses[0], last, norm, wall, watch.history(), probe_scores)


def _memory(stage: str, batch_size: int) -> AbstractContextManager[None]:
    return memory_explained(f"--set {'train' if stage == 'finetune' else 'pretrain'}.batch_size=", batch_size)


@contextmanager
def _blame_state(state: Path | None, watch: Watch) -> Iterator[None]:
    """Raise CheckpointError for what fails between a resume and the end of its first step."""
    try:
        yield
    except Exception as error:
        is_other = isinstance(error, BenchmarkError | torch.cuda.OutOfMemoryError)
        if state is None or watch.has_stepped or is_other:
            raise
        raise CheckpointError(
            f"Training cannot go on from {state} ({type(error).__name__}: {one_line(error)}). A state of this model "
            f"and this version was expected. Type --no-resume to train from the beginning, or delete the file."
        ) from error


@contextmanager
def _raise_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt for Ctrl-C, which Lightning turns into a silent exit with code 1."""
    try:
        yield
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from error


def _silence_lightning() -> None:
    """Hide Lightning's banners and hints."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")
    warnings.filterwarnings(
        "ignore", message=".*num_workers.*|.*IterableDataset.*|.*litlogger.*|.*isinstance.treespec.*"
    )
