"""What baselines without gradients share: quantities of a batch by name, class frequencies, and their small files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.contracts import Model, PointBatch, Task
from benchmark.errors import CheckpointError, DataError
from benchmark.io import atomic_path


def quantity(batch: PointBatch, name: str, where: str = "event_info") -> np.ndarray:
    """(B,) or (N,) float64 what the data say of each event or point, in their own units.

    `where`: event_info | point_info. Raises DataError if it is missing or not finite.
    """
    known: Mapping[str, Any] = getattr(batch, where)
    if name not in known:
        raise DataError(
            f"The batch has no {name!r} in its {where}. The quantities of a calorimeter sample were expected, not "
            f"{', '.join(sorted(known)) or 'none'}. Choose --dataset calo-sim or another calorimeter dataset."
        )
    values = np.asarray(known[name], dtype=np.float64)
    if not np.isfinite(values).all():
        raise DataError(
            f"{name!r} is not finite in {int((~np.isfinite(values)).sum())} of {len(values)} rows (first event of the "
            f"batch: {batch.event_ids[0]}). Finite numbers were expected. Repair the file."
        )
    return values


class Unfitted(Model):
    """A baseline that reads off what the experiment's own reconstruction says: nothing is learnt or kept."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def fit(self, batches: Iterator[PointBatch], task: Task) -> None:
        """Nothing is learnt; the labelled samples are not looked at."""

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write an empty .npy, so that every model has a file."""
        write_values(path, np.zeros(0))

    def load(self, path: Path) -> Mapping[str, str]:
        """Check that the file is such a one."""
        name = type(self).__module__.rpartition(".")[2]
        values = read_values(path, name)
        if values.shape != (0,):
            raise CheckpointError(
                f"The checkpoint {path} holds {values.size} values. The empty file of `{name}` was expected. Check "
                f"--model."
            )
        return {}


def write_values(path: Path, values: np.ndarray) -> None:
    """Write an array as .npy, whole or not at all."""
    with atomic_path(path) as partial, partial.open("wb") as stream:
        np.save(stream, values)


def read_values(path: Path, model: str) -> np.ndarray:
    """The array that `write_values` wrote, all finite numbers. Raises CheckpointError."""
    try:
        values = np.load(path, allow_pickle=False)
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
            raise ValueError("not an array of finite numbers")
    except (OSError, ValueError, EOFError) as error:
        raise CheckpointError(
            f"The checkpoint {path} could not be read ({error}). A file of `{model}` was expected. Check the path."
        ) from error
    return values


def class_frequencies(batches: Iterable[PointBatch], task: Task) -> np.ndarray:
    """(C,) float32 shares of the classes among labelled points or events; NaN without any.

    Labels that are fractions count as such. Points weigh as in the task's loss: their energy to its power.
    """
    total = np.zeros(task.n_outputs)
    for batch in batches:
        target = np.asarray(batch.target)
        if task.soft:
            truth = target.astype(np.float64)  # (N, C); rows of zeros have no label
            valid = truth.sum(axis=1) > 0
        else:
            valid = target != task.ignore_index
            truth = np.eye(task.n_outputs)[np.where(valid, target, 0)]
        weight = valid.astype(np.float64)
        if task.loss.energy_power and len(batch.energy) == len(truth):
            weight *= np.maximum(np.asarray(batch.energy, np.float64), 0) ** task.loss.energy_power
        total += weight @ truth
    with np.errstate(invalid="ignore"):  # without labels: 0 / 0
        frequencies: np.ndarray = (total / total.sum()).astype(np.float32)
    return frequencies


def log_probabilities(probabilities: np.ndarray, least: float) -> np.ndarray:
    """float32 scores whose softmax is the probabilities (..., C), which are kept above `least`."""
    scores: np.ndarray = np.log(np.maximum(probabilities, least)).astype(np.float32)
    return scores
