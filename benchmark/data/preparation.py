"""The preprocessing of a task: that of its detector, or of the outside dataset that defines the task."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from benchmark import tasks
from benchmark.contracts import DatasetInfo, Event, EventSource, Frame, Inputs, PointBatch, Task
from benchmark.contracts.pretext import HIDDEN
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
        """A copy without optional labels that the dataset lacks."""

    def eligible(self, source: EventSource, task: Task) -> Eligible:
        """The usable events of a source, and the number excluded for each reason."""

    def apply(self, event: Event, task: Task, frame: Frame) -> PointBatch[np.ndarray]:
        """One event as a batch."""

    def energy_of(self, scaled: Any) -> Any:
        """Energies, in the dataset's unit, from values of the column log_energy."""


def preparation(task: Task) -> Preparation:
    """The preprocessing of a task with its default settings."""
    dataset = tasks.bringer(task)
    if dataset is not None and dataset.preparation is not None:
        result: Preparation = dataset.preparation(task)
        return result
    if task.detector == "calorimeter":
        return CellPreprocess.of(task)
    return VolumePreprocess() if task.data == "volumes" else Preprocess()


def model_inputs(prepared: Preparation, frame: Frame, pretext: str | None = None) -> Inputs:
    """The model's inputs under this preprocessing; with a pretext, one column more."""
    columns = (*prepared.columns, *(() if pretext is None else (HIDDEN,)))
    return Inputs(columns, frame, tuple(prepared.event_columns))
