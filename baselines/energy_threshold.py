"""A physicist's one-line rule: one class above an energy, another one below it.

Points are cut on their own energy, events on the sum over their points. The threshold and both classes are the ones
with the highest macro F1 on the labelled events, found exactly: every cut between two energies is tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np

from benchmark.contracts import Inputs, Model, ModelSpec, PointBatch, Preset, Task
from benchmark.errors import CheckpointError
from benchmark.io import atomic_path


@dataclass(frozen=True)
class EnergyThresholdConfig:
    """No settings."""


@dataclass(frozen=True)
class Rule:
    """`high` where the energy exceeds `threshold` (in the dataset's unit; -inf: everywhere), else `low`."""

    threshold: float
    low: int
    high: int


class EnergyThreshold(Model):
    """Scores 1 for the class that the rule names, 0 for all others."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.rule: Rule | None = None  # set by `fit` and `load`

    def fit(self, batches: Iterator[PointBatch], task: Task) -> None:
        """Choose the rule on all labelled points (or events)."""
        pairs = [(energies(batch, task), classes_of(batch, task)) for batch in batches]
        energy, target = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        labelled = target != task.ignore_index
        self.rule = best_rule(energy[labelled], target[labelled], task.n_outputs)

    def predict(self, batch: PointBatch) -> np.ndarray:
        """(N, C) or (B, C) one-hot rows. Raises RuntimeError before `fit`."""
        if self.rule is None:
            raise RuntimeError("energy_threshold predicts after `fit` or `load` only")
        is_high = energies(batch, self.task) > self.rule.threshold
        chosen = np.where(is_high, self.rule.high, self.rule.low)
        return np.eye(self.task.n_outputs, dtype=np.float32)[chosen]

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write (threshold, low, high) as .npy."""
        if self.rule is None:
            raise RuntimeError("energy_threshold is saved after `fit` or `load` only")
        with atomic_path(path) as partial, partial.open("wb") as stream:
            np.save(stream, np.array([self.rule.threshold, self.rule.low, self.rule.high]))

    def load(self, path: Path) -> Mapping[str, str]:
        """Read what `save` wrote, strictly."""
        try:
            values = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"The checkpoint {path} could not be read ({error}). A file of `energy_threshold` was expected. "
                f"Check the path."
            ) from error
        classes = range(self.task.n_outputs)
        if values.shape != (3,) or np.isnan(values[0]) or not {*values[1:].tolist()} <= {*classes}:
            raise CheckpointError(
                f"The checkpoint {path} holds {values.tolist()}. A threshold and two classes, each from 0 to "
                f"{len(classes) - 1}, were expected. Check --task."
            )
        self.rule = Rule(float(values[0]), int(values[1]), int(values[2]))
        return {}

    @property
    def n_parameters(self) -> int:
        """The threshold and two classes."""
        return 3


def classes_of(batch: PointBatch, task: Task) -> np.ndarray:
    """(N,) or (B,) class of each row: of fractions the largest, and `ignore_index` where there is none."""
    target = np.asarray(batch.target)
    if not task.soft:
        return target
    return np.where(target.sum(axis=1) > 0, target.argmax(axis=1), task.ignore_index)


def energies(batch: PointBatch, task: Task) -> np.ndarray:
    """(N,) float64 energies of points, or (B,) sums over events."""
    energy = np.asarray(batch.energy, dtype=np.float64)
    if task.level == "point":
        return energy
    return np.bincount(np.asarray(batch.event_index), weights=energy, minlength=batch.n_events)


def best_rule(energy: np.ndarray, target: np.ndarray, n_classes: int) -> Rule:
    """The rule with the highest macro F1 on (n,) energies and classes; among equals the lowest cut, then classes.

    F1 of a class that everything below a cut is called: 2 TP / (called + true), with counts cumulated along the
    sorted energies; likewise above. A rule of two classes scores the sum of the two, over the classes that occur.
    """
    order = np.argsort(energy, kind="stable")
    values, classes = energy[order], target[order]
    cuts = np.concatenate([[0], np.flatnonzero(np.diff(values) > 0) + 1])  # (K,), this many points lie below each
    total = np.bincount(classes, minlength=n_classes)
    below = [np.concatenate([[0], np.cumsum(classes == c)])[cuts] for c in range(n_classes)]  # of each class, (K,)
    best, found = (-1.0, 0), (0, 0)
    for low, high in permutations(range(n_classes), 2):
        above = total[high] - below[high]
        score = _f1(below[low], cuts, total[low]) + _f1(above, len(values) - cuts, total[high])
        cut = int(np.argmax(score))
        if (score[cut], -cut) > best:
            best, found = (float(score[cut]), -cut), (low, high)
    place = cuts[-best[1]]
    # halfway, so that another order of summation moves no event across
    threshold = -np.inf if place == 0 else (values[place - 1] + values[place]) / 2
    return Rule(float(threshold), *found)


def _f1(true_positives: np.ndarray, called: np.ndarray, true: int) -> np.ndarray:
    score: np.ndarray = 2 * true_positives / np.maximum(called + true, 1)
    return score


def build(config: EnergyThresholdConfig, inputs: Inputs, task: Task) -> EnergyThreshold:
    """The baseline for a task."""
    return EnergyThreshold(task)


SPEC = ModelSpec(
    name="energy_threshold",
    summary="One class above an energy, another below it: the best such rule on the labelled events",
    config=EnergyThresholdConfig,
    build=build,
    presets={"default": Preset(), "tiny": Preset()},
    levels=("point", "event"),
)
