"""Which preprocessing belongs to a task: that of its detector."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from benchmark.contracts import Event, EventSource, Frame, Inputs, PointBatch, Task
from benchmark.data.cells import CellPreprocess
from benchmark.data.preprocess import Eligible, Preprocess
from benchmark.data.volumes import VolumePreprocess


class Preparation(Protocol):
    """A frozen dataclass of cuts and maps, kept in every record, that turns events into batches."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Feature columns of points."""

    @property
    def event_columns(self) -> tuple[str, ...]:
        """Feature columns of events."""

    def eligible(self, source: EventSource, task: Task) -> Eligible:
        """Which events of a source are used, and how many are not for each reason."""

    def apply(self, event: Event, task: Task, frame: Frame) -> PointBatch[np.ndarray]:
        """One event as a batch."""

    def energy_of(self, scaled: Any) -> Any:
        """Energies, in the dataset's unit, of values of the column log_energy."""


def preparation(task: Task) -> Preparation:
    """The preprocessing of a task with its default settings."""
    if task.detector == "calorimeter":
        return CellPreprocess.of(task)
    return VolumePreprocess() if task.data == "volumes" else Preprocess()


def model_inputs(prepared: Preparation, frame: Frame) -> Inputs:
    """What a model is told of the events that this preprocessing gives it."""
    return Inputs(tuple(prepared.columns), frame, tuple(prepared.event_columns))
