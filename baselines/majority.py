"""The commonest class of the labelled events, for every point: the floor that any model must beat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.contracts import Inputs, Model, ModelSpec, PointBatch, Preset, Task
from benchmark.errors import CheckpointError
from benchmark.io import atomic_path


@dataclass(frozen=True)
class MajorityConfig:
    """No settings."""


class Majority(Model):
    """Scores every point with the class frequencies of the labelled points."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.frequencies = np.full(task.n_outputs, np.nan, dtype=np.float32)  # (C,), set by `fit`

    def fit(self, batches: Iterator[PointBatch], task: Task) -> None:
        """Count the classes of all labelled points (or events)."""
        counts = np.zeros(task.n_outputs)
        for batch in batches:
            target = np.asarray(batch.target)
            counts += np.bincount(target[target != task.ignore_index], minlength=task.n_outputs)
        self.frequencies = (counts / counts.sum()).astype(np.float32)

    def predict(self, batch: PointBatch) -> np.ndarray:
        """(N, C) or (B, C) the same frequencies in every row."""
        rows = batch.n_points if self.task.level == "point" else batch.n_events
        return np.tile(self.frequencies, (rows, 1))

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the frequencies as .npy."""
        with atomic_path(path) as partial, partial.open("wb") as stream:
            np.save(stream, self.frequencies)

    def load(self, path: Path) -> Mapping[str, str]:
        """Read what `save` wrote."""
        try:
            frequencies = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"The checkpoint {path} could not be read ({error}). A file of `majority` was expected. Check the path."
            ) from error
        if frequencies.shape != self.frequencies.shape:
            raise CheckpointError(
                f"The checkpoint {path} holds {frequencies.shape} frequencies. {self.frequencies.shape} were expected. "
                f"Check --task."
            )
        self.frequencies = frequencies
        return {}

    @property
    def n_parameters(self) -> int:
        """One frequency per class."""
        return self.frequencies.size


def build(config: MajorityConfig, inputs: Inputs, task: Task) -> Majority:
    """The baseline for a task."""
    return Majority(task)


SPEC = ModelSpec(
    name="majority",
    summary="The commonest class of the labelled events, everywhere",
    config=MajorityConfig,
    build=build,
    presets={"default": Preset(), "tiny": Preset()},
    levels=("point", "event"),
)
