"""The commonest class of the labelled events, for every point: the floor that any model must beat.

Where labels are fractions, frequencies are their means, and points weigh as they do in the task's loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.contracts import Inputs, Model, ModelSpec, PointBatch, Preset, Task
from benchmark.errors import CheckpointError
from benchmark.io import atomic_path

from ._classical import class_frequencies, log_probabilities

_LEAST = 1e-6  # frequency that a class without labelled points is given where scores are logarithms


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
        self.frequencies = class_frequencies(batches, task)

    def predict(self, batch: PointBatch) -> np.ndarray:
        """(N, C) or (B, C) the same row everywhere: the frequencies, or their logarithms for fractions.

        Fractions are compared with probabilities, which are the softmax of the scores.
        """
        rows = batch.n_points if self.task.level == "point" else batch.n_events
        row = log_probabilities(self.frequencies, _LEAST) if self.task.soft else self.frequencies
        return np.tile(row, (rows, 1))

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the frequencies as .npy."""
        with atomic_path(path) as partial, partial.open("wb") as stream:
            np.save(stream, self.frequencies)

    def load(self, path: Path) -> Mapping[str, str]:
        """Read what `save` wrote."""
        try:
            frequencies = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
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
