"""Preprocessing of events: cuts, energy map, targets. Its settings are in every record.

Defaults follow PoLAr-MAE (arXiv:2502.02558, and its data set code at 2fd3b80): E > 0.13 MeV, at least 1024 points
before any cut, log energy with the threshold as its epsilon, no scaling per event.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from benchmark.contracts import DatasetInfo, Event, EventSource, Frame, PointBatch, Task
from benchmark.errors import DataError

COLUMNS = ("log_energy", "energy")
COORDS = ("detector", "centred")
BELOW_MIN_POINTS = "below_min_points"
NOTHING_LEFT = "nothing_left_after_cuts"


@dataclass(frozen=True)
class Preprocess:
    """Cuts and maps. Raises ValueError for values outside their range."""

    energy_min_mev: float = 0.13  # points with more energy than this are kept
    min_points: int = 1024  # events with fewer points in the file, low-energy scatters included, are left out
    log_eps_mev: float = 0.13  # epsilon of the log energy; the reference sets it to the threshold
    log_max_mev: float = 20.0  # energy that maps to +1; larger ones are not clipped
    columns: tuple[str, ...] = ("log_energy",)  # feature columns, of log_energy and energy (the raw one)
    coords: str = "detector"  # detector: as in the file; centred: each event's bounding box moved to the frame's centre
    # label that becomes `PointBatch.instance`: group, fragment, interaction ...; "" for none. No task needs group, the
    # default, which is left out where a dataset does not declare it
    instance: str = "group"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.energy_min_mev) and self.energy_min_mev >= 0):
            raise ValueError(f"energy_min_mev={self.energy_min_mev} is out of range. At least 0 MeV was expected.")
        if self.min_points < 0:
            raise ValueError(f"min_points={self.min_points} is out of range. At least 0 was expected.")
        if not (self.log_eps_mev > 0 and math.isfinite(self.log_max_mev) and self.log_max_mev > 0):
            raise ValueError(
                f"log_eps_mev={self.log_eps_mev} and log_max_mev={self.log_max_mev} are out of range. "
                f"Finite values above 0 were expected."
            )
        if not self.columns or len(set(self.columns)) < len(self.columns) or not set(self.columns) <= set(COLUMNS):
            raise ValueError(f"columns={self.columns} do not fit. Some of {', '.join(COLUMNS)} were expected.")
        if self.coords not in COORDS:
            raise ValueError(f"coords={self.coords!r} does not fit. One of {', '.join(COORDS)} was expected.")

    @property
    def event_columns(self) -> tuple[str, ...]:
        """Liquid-argon events have no features of the whole."""
        return ()

    @property
    def looser(self) -> str:
        """Events of any size."""
        return "min_points=0"

    def labels(self, task: Task) -> tuple[str, ...]:
        """The task's labels, and the configured instance."""
        return (task.label, *task.auxiliary, *((self.instance,) if self.instance else ()))

    def suited(self, info: DatasetInfo) -> Preprocess:
        """Without instances where the dataset has none of the default name."""
        drop_instance = self.instance == "group" and self.instance not in info.labels
        return replace(self, instance="") if drop_instance else self

    def eligible(self, source: EventSource, task: Task) -> Eligible:
        """Which events of a source are used."""
        return eligible(source, task, self)

    def apply(self, event: Event, task: Task, frame: Frame) -> PointBatch[np.ndarray]:
        """One event as a batch."""
        return preprocess(event, task, self, frame)

    def energy_of(self, scaled: np.ndarray) -> np.ndarray:
        """Energies of log energies."""
        return energy_of(scaled, self)

    def rescaled(self, batch: PointBatch[np.ndarray], factors: np.ndarray) -> PointBatch[np.ndarray]:
        """The batch with the energies of each event times its factor (B,), in all columns."""
        energy = (batch.energy * np.repeat(factors, batch.lengths)).astype(np.float32)
        return replace(batch, energy=energy, feats=_features(energy, self))


@dataclass(frozen=True)
class Eligible:
    """The usable events of a source, and the number excluded for each reason."""

    indices: np.ndarray  # (n,) int64, ascending positions in the source
    excluded: Mapping[str, int]


def log_energy(energy: np.ndarray, config: Preprocess) -> np.ndarray:
    """(N,) float32 in MeV -> 2 (log10(E + eps) - log10 eps) / (log10(max + eps) - log10 eps) - 1, 0 MeV at -1."""
    low = math.log10(config.log_eps_mev)
    high = math.log10(config.log_max_mev + config.log_eps_mev)
    logarithm = np.log10(energy.astype(np.float32) + np.float32(config.log_eps_mev))  # in float32, like the reference
    scaled: np.ndarray = 2.0 * (logarithm.astype(np.float64) - low) / (high - low) - 1.0
    return scaled.astype(np.float32)


def energy_of(scaled: np.ndarray, config: Preprocess) -> np.ndarray:
    """(N,) MeV of a log energy: the inverse of `log_energy`; values below -1 are negative energies."""
    low = math.log10(config.log_eps_mev)
    high = math.log10(config.log_max_mev + config.log_eps_mev)
    energy: np.ndarray = 10.0 ** ((scaled.astype(np.float64) + 1) / 2 * (high - low) + low) - config.log_eps_mev
    return energy


def eligible(source: EventSource, task: Task, config: Preprocess) -> Eligible:
    """Events with at least `min_points` points in the file, of which at least one survives the cuts."""
    large_enough = np.flatnonzero(np.asarray(source.n_points) >= config.min_points)
    is_left = (_point_mask(source[int(i)], task, config).any() for i in large_enough)
    selected = large_enough[np.fromiter(is_left, bool, len(large_enough))].astype(np.int64)
    excluded = {BELOW_MIN_POINTS: len(source) - len(large_enough), NOTHING_LEFT: len(large_enough) - len(selected)}
    return Eligible(selected, {reason: n for reason, n in excluded.items() if n})


def preprocess(event: Event, task: Task, config: Preprocess, frame: Frame) -> PointBatch[np.ndarray]:
    """One event as a batch: points cut, features computed, the task's label as target (0..C-1).

    Coordinates stay in the frame's unit. Raises DataError where no point is left or a label is missing or unknown.
    """
    keep = _point_mask(event, task, config)
    if not keep.any():
        raise DataError(
            f"Event {event.event_id} has no point left after the cuts (E > {config.energy_min_mev} MeV, classes "
            f"{task.drop_classes} dropped). At least one was expected. Leave it out, as `eligible` does."
        )
    energy = event.energy[keep].astype(np.float32)
    return PointBatch(
        coords=_coords(event.coords[keep], config, frame),
        energy=energy,
        feats=_features(energy, config),
        offsets=np.array([0, len(energy)], dtype=np.int64),
        event_ids=(event.event_id,),
        columns=config.columns,
        frame=frame,
        target=_target(event, task, keep),
        instance=_label(event, config.instance)[keep].astype(np.int64) if config.instance else None,
    )


def _features(energy: np.ndarray, config: Preprocess) -> np.ndarray:
    """(N, C) float32 the configured columns."""
    features = {"log_energy": log_energy(energy, config), "energy": energy}
    return np.stack([features[name] for name in config.columns], axis=1)


def _point_mask(event: Event, task: Task, config: Preprocess) -> np.ndarray:
    """(N,) bool: above the energy threshold and not of a dropped class."""
    keep: np.ndarray = event.energy > np.float32(config.energy_min_mev)
    if task.is_labelled_by_point and task.drop_classes:
        label = _label(event, task.label)
        for dropped in task.drop_classes:
            keep &= label != dropped
    return keep


def _coords(coords: np.ndarray, config: Preprocess, frame: Frame) -> np.ndarray:
    coords = coords.astype(np.float32)
    if config.coords == "detector":
        return coords
    middle = (coords.min(axis=0) + coords.max(axis=0)) / 2
    centred: np.ndarray = coords - middle + np.asarray(frame.centre, dtype=np.float32)
    return centred


def _target(event: Event, task: Task, keep: np.ndarray) -> np.ndarray:
    label = _label(event, task.label)
    if task.is_labelled_by_point:
        label = label[keep]
    if task.kind == "regression":
        return np.atleast_1d(label).astype(np.float32)
    return _class_numbers(np.atleast_1d(label).astype(np.int64), event, task)


def _class_numbers(label: np.ndarray, event: Event, task: Task) -> np.ndarray:
    """Label values -> 0..C-1 in ascending order of those that are not dropped; the ignored value stays."""
    n_values = task.n_outputs + len(task.drop_classes)
    values = [v for v in range(n_values) if v not in task.drop_classes][: task.n_outputs]
    table = np.full(n_values + 1, -1, dtype=np.int64)  # the last entry is for values outside
    table[values] = np.arange(len(values))
    inside = (label >= 0) & (label < n_values)
    classes: np.ndarray = table[np.where(inside, label, n_values)]
    unknown = classes < 0
    if unknown.any():
        wrong = label[unknown & (label != task.ignore_index)]
        if len(wrong):
            raise DataError(
                f"Event {event.event_id} has the {task.label} label {wrong[0]}. The task {task.name} expects one of "
                f"{values}. Choose another task, or repair the file."
            )
        classes[unknown] = task.ignore_index
    return classes


def _label(event: Event, name: str) -> np.ndarray:
    try:
        return np.asarray(event.labels[name])
    except KeyError:
        raise DataError(
            f"Event {event.event_id} has no label {name!r}. It has {', '.join(sorted(event.labels)) or 'none'}. "
            f"Choose a task of this dataset (`python -m benchmark list datasets`)."
        ) from None
