"""Preprocessing of volume tiles: bright voxels as points, and hidden tokens.

Volume networks see the tile as stored in the data set. Point networks see its bright voxels, selected above the tile's
own background, independent of other tiles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmark.contracts import DatasetInfo, Event, EventSource, Frame, PointBatch, Task, Volumes
from benchmark.data.preprocess import Eligible
from benchmark.errors import DataError
from benchmark.ops.masks import MASKS, hidden_tokens
from benchmark.ops.robust import median_and_sigma
from benchmark.seeding import generator

# name -> feature of points, from values of the tile and their significance over the tile's background
_COLUMNS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "intensity": lambda value, significance: value,
    "log_significance": lambda value, significance: np.arcsinh(significance),
}


@dataclass(frozen=True)
class VolumePreprocess:
    """Points and masks. Raises ValueError for values outside their range."""

    sigma_min: float = 2.5  # voxels this many robust sigmas above the tile's median become points
    min_points: int = 64  # the brightest voxels that become points in any case
    max_points: int = 16_000  # the brightest ones, if there are more
    columns: tuple[str, ...] = ("log_significance",)  # feature columns of points
    token: tuple[int, int, int] = (5, 10, 10)  # z, y, x voxels of a token that may be hidden
    mask_ratio: float = 0.4  # share of the tokens that are hidden where the volume itself is predicted
    mask: str = "random"  # random | stratified: see `benchmark.ops.masks`

    def __post_init__(self) -> None:
        if not math.isfinite(self.sigma_min):
            raise ValueError(f"sigma_min={self.sigma_min} is out of range. A finite number was expected.")
        if not 1 <= self.min_points <= self.max_points:
            raise ValueError(
                f"min_points={self.min_points} and max_points={self.max_points} are out of range. At least 1, and the "
                f"second not below the first, was expected."
            )
        if not self.columns or len(set(self.columns)) < len(self.columns) or not set(self.columns) <= set(_COLUMNS):
            raise ValueError(f"columns={self.columns} do not fit. Some of {', '.join(_COLUMNS)} were expected.")
        if min(self.token) < 1:
            raise ValueError(f"token={self.token} is out of range. Three numbers from 1 on were expected.")
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"mask_ratio={self.mask_ratio} is out of range. A number between 0 and 1 was expected.")
        if self.mask not in MASKS:
            raise ValueError(f"mask={self.mask!r} is not known. One of {', '.join(MASKS)} was expected.")

    @property
    def event_columns(self) -> tuple[str, ...]:
        """Tiles have no features of the whole."""
        return ()

    @property
    def looser(self) -> str:
        """Tiles with any number of bright voxels."""
        return "min_points=1"

    def labels(self, task: Task) -> tuple[str, ...]:
        """The task's label and the track number; none where the volume itself is predicted."""
        return () if task.self_supervised else (task.label, "instance")

    def suited(self, info: DatasetInfo) -> VolumePreprocess:
        """The same for every dataset."""
        return self

    def eligible(self, source: EventSource, task: Task) -> Eligible:
        """Every tile. Raises DataError where the task's labels are missing."""
        if not (task.self_supervised or getattr(source, "labelled", True)):
            raise DataError(
                f"These volumes have no labels, which {task.name} learns from. A stack of labels per scan was expected "
                f"(column `labels` of the table of scans). Give them, or choose --task lif-reconstruction."
            )
        return Eligible(np.arange(len(source), dtype=np.int64), {})

    def energy_of(self, scaled: np.ndarray) -> np.ndarray:
        """Significances of the column log_significance."""
        significance: np.ndarray = np.sinh(np.asarray(scaled, np.float64))
        return significance

    def apply(self, event: Event, task: Task, frame: Frame) -> PointBatch[np.ndarray]:
        """One tile as a batch. Raises DataError for an event without a volume or without the task's label."""
        volume = event.volume
        if volume is None:
            raise DataError(
                f"Event {event.event_id} has no volume, which {task.name} needs. A tile was expected. Choose "
                f"another --task or --dataset."
            )
        if task.self_supervised:
            batch = _batch(event, volume, np.zeros(0, np.int64), np.zeros(0, np.float32), self, frame)
            nothing_hidden = np.zeros((1, *self._grid(volume.shape)), bool)
            batch = replace(batch, volumes=replace(batch.volumes, target=volume[None], hidden=nothing_hidden))
            return self.hide(batch, [generator("hidden tokens", event.event_id)])
        label, instance = (_label(event, name) for name in (task.label, "instance"))
        significance = _significance(volume)
        voxel = self._bright_voxels(significance)
        batch = _batch(event, volume, voxel, significance.ravel()[voxel], self, frame)
        return replace(
            batch,
            target=label.ravel()[voxel].astype(np.int64),
            instance=instance.ravel()[voxel].astype(np.int64),
            volumes=replace(
                batch.volumes, target=label[None].astype(np.int64), instance=instance[None].astype(np.int64)
            ),
        )

    def hide(self, batch: PointBatch[np.ndarray], draws: Sequence[np.random.Generator]) -> PointBatch[np.ndarray]:
        """The batch with newly drawn hidden tokens, by one generator per volume."""
        whole = np.asarray(batch.volumes.target)
        grid = self._grid(whole.shape[1:])
        noise = np.stack([draw.random(grid) for draw in draws])
        hidden = hidden_tokens(noise, self.mask_ratio, self.mask)
        volumes = replace(batch.volumes, hidden=hidden)
        values = np.where(volumes.hidden_voxels, np.float32(0), whole)
        return replace(batch, volumes=replace(volumes, values=values))

    def _grid(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if any(n % t for n, t in zip(shape, self.token, strict=True)):
            raise DataError(
                f"Tiles of {' x '.join(map(str, shape))} voxels do not divide into tokens of "
                f"{' x '.join(map(str, self.token))}. Whole tokens were expected. Correct --set preprocess.token."
            )
        return tuple(n // t for n, t in zip(shape, self.token, strict=True))

    def _bright_voxels(self, significance: np.ndarray) -> np.ndarray:
        """(N,) int64 flat indices, ascending, of the voxels that become points; ties go to the first."""
        flat = significance.ravel()
        n = int(np.clip((flat > self.sigma_min).sum(), min(self.min_points, len(flat)), self.max_points))
        threshold = -np.partition(-flat, n - 1)[n - 1]
        above, equal = np.flatnonzero(flat > threshold), np.flatnonzero(flat == threshold)
        return np.sort(np.concatenate([above, equal[: n - len(above)]])).astype(np.int64)


def _significance(volume: np.ndarray) -> np.ndarray:
    """(Z, Y, X) float32 robust sigmas of each voxel above the median of the tile."""
    median, sigma = median_and_sigma(volume)
    significance: np.ndarray = ((volume - median) / max(sigma, 1e-6)).astype(np.float32)
    return significance


def _batch(
    event: Event, volume: np.ndarray, voxel: np.ndarray, significance: np.ndarray, config: VolumePreprocess,
    frame: Frame,
) -> PointBatch[np.ndarray]:  # fmt: skip
    z, y, x = np.unravel_index(voxel, volume.shape)
    value = volume.ravel()[voxel]
    feats = [_COLUMNS[name](value, significance) for name in config.columns]
    return PointBatch(
        coords=np.stack([x, y, z], axis=1).astype(np.float32),  # (N, 3) voxels
        energy=np.maximum(significance, 0).astype(np.float32),
        feats=np.stack(feats, axis=1).astype(np.float32),  # (N, C)
        offsets=np.array([0, len(voxel)], dtype=np.int64),
        event_ids=(event.event_id,),
        columns=config.columns,
        frame=frame,
        volumes=Volumes(volume[None].astype(np.float32), voxel=voxel),
    )


def _label(event: Event, name: str) -> np.ndarray:
    try:
        return np.asarray(event.labels[name])
    except KeyError:
        raise DataError(
            f"Tile {event.event_id} has no label {name!r}. It has {', '.join(sorted(event.labels)) or 'none'}. Give a "
            f"stack of labels per scan, or choose --task lif-reconstruction."
        ) from None
