"""Callbacks between training steps: training states, numbers for the record, scores of a probe."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO

from benchmark.contracts.torch_model import TorchModel
from benchmark.errors import BenchmarkError
from benchmark.hardware.distributed import from_first, processes
from benchmark.io import atomic_path
from benchmark.progress import Bar, progress
from benchmark.training.states import states_in

Probe = Callable[[TorchModel], Mapping[str, float]]

MAX_POINTS = {"pretrain": 200, "finetune": 60}  # of a history in a record, by stage


class States(Callback):
    """Saves training states: every `every` steps, after the last one, and at the deadline. Keeps the latest two."""

    def __init__(self, folder: Path, every: int, n_steps: int, deadline: float | None) -> None:
        self.folder, self.every, self.n_steps, self.deadline = folder, every, n_steps, deadline

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        """After every step. All processes stop together."""
        step = trainer.global_step
        if self.deadline is not None:
            expired = time.monotonic() >= self.deadline
            trainer.should_stop = trainer.strategy.reduce_boolean_decision(expired, all=False)
        if step % self.every == 0 or step == self.n_steps or trainer.should_stop:
            trainer.save_checkpoint(self.folder / f"step={step:08d}.ckpt")  # the first process writes
            if processes().first:
                for path in states_in(self.folder)[:-2]:
                    path.unlink(missing_ok=True)


class StateFiles(TorchCheckpointIO):
    """Writes a training state whole or not at all. Lightning's own copies it from the folder of temporary files."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a state. Raises RecordError, on a full disk for example."""
        content = io.BytesIO()  # torch hides the cause where the disk is full
        torch.save(checkpoint, content)
        with atomic_path(Path(path)) as partial:
            partial.write_bytes(content.getbuffer())


class _Step(NamedTuple):
    """Numbers of one step, while being copied from the device."""

    number: int
    event_ids: tuple[str, ...]  # of this process
    names: tuple[str, ...]
    values: torch.Tensor  # (n_names,)
    counts: torch.Tensor | None
    rate: float
    arrived: torch.cuda.Event | None  # None: already on the host


class Watch(Callback):
    """Shows progress and stores each step's numbers, across resumes.

    A GPU's numbers are read after the next step is queued, so the GPU is never idle.
    """

    def __init__(self, n_steps: int, title: str, max_points: int = MAX_POINTS["pretrain"], folder: Path | None = None):
        """folder: of the training states, for messages."""
        self.max_points, self.folder = max_points, folder
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.series: dict[str, list[float]] = {}  # the loss's parts, the learning rate
        self.counts: list[list[list[int]]] = []  # per step, [true][predicted], in a classification
        self.earlier_s = 0.0  # time of the steps before a resume
        self.has_stepped = False  # in this process
        self._waiting: list[_Step] = []
        self._started = time.monotonic()
        self._progress: Any = progress(title, n_steps, silent=not processes().first)

    def __enter__(self) -> None:
        self._started = time.monotonic()
        self._bar: Bar = self._progress.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._progress.__exit__(*error)

    @property
    def wall_s(self) -> float:
        """Time of all steps, probes included."""
        return self.earlier_s + time.monotonic() - self._started

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        """Numbers of the step, means over the processes. Raises BenchmarkError where the loss is not finite."""
        self.has_stepped = True
        values = {"loss": outputs["loss"], **outputs["parts"]}
        means = {name: trainer.strategy.reduce(v.detach(), reduce_op="mean") for name, v in values.items()}
        means["grad_norm"] = module.grad_norm
        numbers = torch.stack([v.double() for v in means.values()])
        counts = outputs["counts"]
        if counts is not None:
            counts = trainer.strategy.reduce(counts, reduce_op="sum").to("cpu", non_blocking=True)
        copied = numbers.to("cpu", non_blocking=True)
        arrived = None
        if numbers.is_cuda:
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record()
        step = trainer.global_step, tuple(batch.event_ids)
        self._waiting.append(_Step(*step, tuple(means), copied, counts, outputs["lr"], arrived))
        self._read_steps(later=1 if numbers.is_cuda else 0)

    def on_train_end(self, trainer: Any, module: Any) -> None:
        """The last step's numbers."""
        self._read_steps()

    def _read_steps(self, later: int = 0) -> None:
        """Store the numbers of all steps but the last `later`."""
        while len(self._waiting) > later:
            step = self._waiting.pop(0)
            if step.arrived is not None:
                step.arrived.synchronize()
            values = dict(zip(step.names, step.values.tolist(), strict=True))
            self.losses.append(values.pop("loss"))
            self.norms.append(values.pop("grad_norm"))
            for name, value in (*values.items(), ("lr", step.rate)):
                self.series.setdefault(name, []).append(value)
            if step.counts is not None:
                self.counts.append([[int(n) for n in row] for row in step.counts.tolist()])
            if not math.isfinite(self.losses[-1]):
                raise BenchmarkError(
                    f"The training loss is {self.losses[-1]} at step {step.number}, on the events "
                    f"{_shortened(step.event_ids)}. A finite one was expected; {self._last_good()}. Lower the learning "
                    f"rate, for example with --set optim.lr={step.rate / 10:.0e}."
                )
            self._bar.update(step.number, f"loss {self.losses[-1]:.4f}")

    def _last_good(self) -> str:
        states = [] if self.folder is None else states_in(self.folder)
        return f"the last good state is {states[-1]}" if states else "there is no state before it"

    def state_dict(self) -> dict[str, Any]:
        """Values for the training state."""
        self._read_steps()
        curves = {"losses": self.losses, "norms": self.norms, "series": self.series, "counts": self.counts}
        return {**curves, "wall_s": self.wall_s}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.losses, self.norms = _floats(state["losses"]), _floats(state["norms"])
        self.series = {str(name): _floats(values) for name, values in state["series"].items()}
        self.counts = np.asarray(state["counts"], np.int64).tolist()
        self.earlier_s, self._started = float(state["wall_s"]), time.monotonic()

    def history(self) -> dict[str, list[Any]]:
        """At most `max_points` numbers per curve: over equal ranges of steps, `step` is the last of a range.

        Means of the loss, its parts, the learning rate and the gradient's norm before clipping; and, in a
        classification, the summed (C, C) `counts` of the augmented training events.
        """
        n_points = min(len(self.losses), self.max_points)
        edges = np.unique(np.linspace(0, len(self.losses), n_points + 1).round().astype(int))
        curves = {"loss": self.losses, **self.series, "grad_norm": self.norms}
        thinned = {n: [float(np.mean(v[a:b])) for a, b in pairwise(edges)] for n, v in curves.items() if v}
        result: dict[str, list[Any]] = {"step": [int(e) for e in edges[1:]], **thinned}
        if self.counts:
            result["counts"] = [np.sum(self.counts[a:b], axis=0).tolist() for a, b in pairwise(edges)]
        return result


def _floats(values: Sequence[Any]) -> list[float]:
    return [float(value) for value in values]


def _shortened(names: Sequence[str]) -> str:
    """The first names of a list, for messages."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}"


class Probing(Callback):
    """Scores the model before the first step, every `every` steps, and after the last, without effect on training."""

    def __init__(self, probe: Probe, every: int, n_steps: int) -> None:
        self.probe, self.every, self.n_steps = probe, every, n_steps
        self.history: list[dict[str, Any]] = []

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Score the random weights first."""
        if trainer.global_step == 0:
            self._run_probe(trainer, module)

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        """After every step."""
        if trainer.global_step % self.every == 0 or trainer.global_step == self.n_steps:
            self._run_probe(trainer, module)

    def state_dict(self) -> dict[str, Any]:
        """Values for the training state."""
        return {"history": self.history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.history = list(state["history"])

    def _run_probe(self, trainer: Any, module: Any) -> None:
        def compute_scores() -> dict[str, float]:
            with preserve_rng_and_mode(module.model):
                return {name: float(value) for name, value in self.probe(module.model).items()}

        scores = from_first(compute_scores)
        finite = {name: value if math.isfinite(value) else None for name, value in scores.items()}
        self.history.append({"step": trainer.global_step, **finite})
        for logger in trainer.loggers:
            logger.log_metrics({f"probe/{name}": value for name, value in scores.items()}, trainer.global_step)


@contextmanager
def preserve_rng_and_mode(model: torch.nn.Module) -> Iterator[None]:
    """Restore the model's modes and the generators of torch and numpy after the block."""
    modes = [(module, module.training) for module in model.modules()]
    numpy_state = np.random.get_state()
    gpus = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(gpus), torch.no_grad():
            yield
    finally:
        np.random.set_state(numpy_state)
        for module, training in modes:
            module.training = training
