"""Which preprocessing belongs to a task: that of its detector, or of the dataset that brings the task along."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from benchmark import tasks
from benchmark.contracts import DatasetInfo, Event, EventSource, Frame, Inputs, PointBatch, Task
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

    @property
    def looser(self) -> str:
        """A setting, `name=value`, that lets smaller events through."""

    def labels(self, task: Task) -> tuple[str, ...]:
        """Names of the labels that events of the task need."""

    def suited(self, info: DatasetInfo) -> Preparation:
        """The same without what events of the dataset do not have and no task needs."""

    def eligible(self, source: EventSource, task: Task) -> Eligible:
        """Which events of a source are used, and how many are not for each reason."""

    def apply(self, event: Event, task: Task, frame: Frame) -> PointBatch[np.ndarray]:
        """One event as a batch."""

    def energy_of(self, scaled: Any) -> Any:
        """Energies, in the dataset's unit, of values of the column log_energy."""


def preparation(task: Task) -> Preparation:
    """The preprocessing of a task with its default settings."""
    dataset = tasks.bringer(task)
    if dataset is not None and dataset.preparation is not None:
        made: Preparation = dataset.preparation(task)
        return made
    if task.detector == "calorimeter":
        return CellPreprocess.of(task)
    return VolumePreprocess() if task.data == "volumes" else Preprocess()


def model_inputs(prepared: Preparation, frame: Frame) -> Inputs:
    """What a model is told of the events that this preprocessing gives it."""
    return Inputs(tuple(prepared.columns), frame, tuple(prepared.event_columns))
