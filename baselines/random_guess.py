"""Classes drawn at random, as often as the labelled samples have them: an F1 equal to a class's share.

A guess is a function of the point, not of the run: the generator is seeded with the event's own coordinates and
energies, in sorted order, so neither batch mates nor the order of points nor the event's name change it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.contracts import Inputs, Model, ModelSpec, PointBatch, Preset, Task
from benchmark.errors import CheckpointError
from benchmark.seeding import generator

from ._classical import class_frequencies, read_values, write_values


@dataclass(frozen=True)
class RandomGuessConfig:
    """No settings."""


class RandomGuess(Model):
    """Draws a class per point, or per event, and how sure to say that it is."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.frequencies = np.full(task.n_outputs, np.nan, dtype=np.float32)  # (C,), set by `fit` and `load`

    def fit(self, batches: Iterator[PointBatch], task: Task) -> None:
        """Count the classes of all labelled points (or events)."""
        self.frequencies = class_frequencies(batches, task)

    def predict(self, batch: PointBatch) -> np.ndarray:
        """(N, C) or (B, C) scores: 0, and from 1 + ln(C - 1) to 1 more than that for the class that was drawn.

        Its softmax is above one half then, and how far above is random: ranked by it, classes are as mixed as before.
        Raises RuntimeError before `fit`.
        """
        if not np.isfinite(self.frequencies).all():
            raise RuntimeError("random_guess predicts after `fit` or `load` only")
        draws = np.concatenate([self._draws(batch, event) for event in range(batch.n_events)])  # (rows, 2)
        bounds = np.cumsum(self.frequencies, dtype=np.float64)
        chosen = np.searchsorted(bounds[:-1], draws[:, 0] * bounds[-1], side="right")
        scores = np.zeros((len(draws), len(bounds)), dtype=np.float32)
        scores[np.arange(len(draws)), chosen] = 1 + np.log(max(len(bounds) - 1, 1)) + draws[:, 1]
        return scores

    def _draws(self, batch: PointBatch, event: int) -> np.ndarray:
        """(n, 2) uniform numbers of an event's points, or (1, 2) of the event. Equal points have equal ones."""
        rows = slice(int(batch.offsets[event]), int(batch.offsets[event + 1]))
        points = np.column_stack([np.asarray(batch.coords)[rows], np.asarray(batch.energy)[rows]]).astype(np.float32)
        distinct, place = np.unique(points + np.float32(0), axis=0, return_inverse=True)  # -0 becomes 0
        rng = generator("random_guess", hashlib.sha256(distinct.tobytes()).hexdigest())
        if self.task.level == "event":
            return rng.random((1, 2))
        return rng.random((len(distinct), 2))[place.reshape(-1)]

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the frequencies as .npy."""
        write_values(path, self.frequencies)

    def load(self, path: Path) -> Mapping[str, str]:
        """Read what `save` wrote, strictly."""
        values = read_values(path, "random_guess")
        if values.shape != self.frequencies.shape or (values < 0).any() or not np.isclose(values.sum(), 1, atol=1e-4):
            raise CheckpointError(
                f"The checkpoint {path} holds {values.tolist()}. {self.task.n_outputs} frequencies that sum to 1 were "
                f"expected. Check --task."
            )
        self.frequencies = values
        return {}

    @property
    def n_parameters(self) -> int:
        """One frequency per class."""
        return self.frequencies.size


def build(config: RandomGuessConfig, inputs: Inputs, task: Task) -> RandomGuess:
    """The baseline for a task."""
    return RandomGuess(task)


SPEC = ModelSpec(
    name="random_guess",
    summary="Classes drawn as often as the labelled events have them, everywhere",
    config=RandomGuessConfig,
    build=build,
    presets={"default": Preset(), "tiny": Preset()},
    levels=("point", "event"),
)
