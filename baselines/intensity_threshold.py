"""Tracks by a threshold: voxels that stand out from their surroundings, in groups that are large enough.

What a physicist does by hand: a smooth background is subtracted, the rest is measured in robust sigmas of the tile, and
groups of bright voxels are kept. The threshold and the smallest group are those with the highest voxel F1 on the
labelled tiles, of a fixed grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import label, uniform_filter

from benchmark.contracts import Inputs, Model, ModelSpec, PointBatch, Preset, Task
from benchmark.errors import CheckpointError
from benchmark.ops.robust import median_and_sigma

from ._classical import read_values, write_values

SIGMAS = tuple(np.arange(2.0, 10.25, 0.25).tolist())
SIZES = (1, 5, 10, 20, 40, 80)  # voxels of the smallest group
TOUCHING = np.ones((3, 3, 3))  # voxels that share a corner belong together
FALLBACK = (5.0, 20)  # without a labelled track: five sigmas, as for any discovery


@dataclass(frozen=True)
class IntensityThresholdConfig:
    """Settings that are not learnt."""

    background: int = 61  # y and x voxels of the box whose mean is subtracted, all slices together; 0: none

    def __post_init__(self) -> None:
        if self.background < 0:
            raise ValueError(f"background={self.background} is not possible. A number from 0 on was expected.")


class IntensityThreshold(Model):
    """A threshold in robust sigmas of the tile, and the smallest group of voxels."""

    def __init__(self, config: IntensityThresholdConfig, task: Task) -> None:
        self.config = config
        self.task = task
        self.rule: tuple[float, int] | None = None  # set by `fit` and `load`

    def fit(self, batches: Iterator[PointBatch], task: Task) -> None:
        """Choose the rule with the highest voxel F1 on the labelled tiles; among equals the first of the grid."""
        counts = np.zeros((len(SIGMAS), len(SIZES), 3))  # true positives, called, true
        for batch in batches:
            for volume, target in zip(np.asarray(batch.volume), np.asarray(batch.volume_target), strict=True):
                counts += _counts(self._significance(volume), target == 1)
        tp, called, true = np.moveaxis(counts, -1, 0)
        if not true.any():
            self.rule = FALLBACK
            return
        f1 = 2 * tp / np.maximum(called + true, 1)
        best = np.unravel_index(int(f1.argmax()), f1.shape)
        self.rule = SIGMAS[best[0]], SIZES[best[1]]

    def predict(self, batch: PointBatch) -> np.ndarray:
        """(B, 2, Z, Y, X) float32 one-hot. Raises RuntimeError before `fit`."""
        if self.rule is None:
            raise RuntimeError("intensity_threshold predicts after `fit` or `load` only")
        threshold, least = self.rule
        called = np.stack([groups(self._significance(v) > threshold, least) for v in np.asarray(batch.volume)])
        return np.stack([~called, called], axis=1).astype(np.float32)

    def _significance(self, volume: np.ndarray) -> np.ndarray:
        """(Z, Y, X) how many robust sigmas of the tile each voxel stands above its surroundings."""
        width = self.config.background
        rest = volume - uniform_filter(volume.mean(axis=0), width, mode="reflect") if width else volume
        median, sigma = median_and_sigma(rest)
        return (rest - median) / max(sigma, 1e-6)

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write (threshold, smallest group) as .npy."""
        if self.rule is None:
            raise RuntimeError("intensity_threshold is saved after `fit` or `load` only")
        write_values(path, np.array(self.rule))

    def load(self, path: Path) -> Mapping[str, str]:
        """Read what `save` wrote, strictly."""
        values = read_values(path, "intensity_threshold")
        if values.shape != (2,) or values[1] < 1 or values[1] != round(values[1]):
            raise CheckpointError(
                f"The checkpoint {path} holds {values.tolist()}. A threshold in sigmas and a number of voxels were "
                f"expected. Check --model."
            )
        self.rule = float(values[0]), int(values[1])
        return {}

    @property
    def n_parameters(self) -> int:
        """The threshold and the smallest group."""
        return 2


def groups(bright: np.ndarray, least: int) -> np.ndarray:
    """(Z, Y, X) bool of the bright voxels that are in groups of at least `least`."""
    if least <= 1:
        return bright
    number, _ = label(bright, structure=TOUCHING)
    enough = np.bincount(number.ravel()) >= least
    enough[0] = False
    kept: np.ndarray = enough[number]
    return kept


def _counts(significance: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(len(SIGMAS), len(SIZES), 3) true positives, called and true voxels of a tile under each rule."""
    found = np.zeros((len(SIGMAS), len(SIZES), 3))
    for i, sigma in enumerate(SIGMAS):
        number, _ = label(significance > sigma, structure=TOUCHING)
        size = np.bincount(number.ravel())
        right = np.bincount(number[true], minlength=len(size))
        size[0] = right[0] = 0
        for j, least in enumerate(SIZES):
            kept = size >= least
            found[i, j] = right[kept].sum(), size[kept].sum(), true.sum()
    return found


def build(config: IntensityThresholdConfig, inputs: Inputs, task: Task) -> IntensityThreshold:
    """The baseline for a task."""
    return IntensityThreshold(config, task)


SPEC = ModelSpec(
    name="intensity_threshold",
    summary="Voxels above a threshold, in groups above a size: the best such rule on the labelled tiles",
    config=IntensityThresholdConfig,
    build=build,
    presets={"default": Preset(), "tiny": Preset(model={"background": 21})},
    data=("volumes",),
    levels=("volume",),
)
