"""The events of a run: training split, labelled subset and scored split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.contracts import Dataset, Inputs, Task
from benchmark.data.budget import Subset, subset
from benchmark.data.stream import EventSet, event_set
from benchmark.errors import DataError
from benchmark.runs.config import RunConfig
from benchmark.seeding import generator

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class RunEvents:
    """The events of a run, and which of them carry labels."""

    dataset: Dataset
    train: EventSet
    labelled: EventSet
    test: EventSet
    subset: Subset


def bootstrap_rng(task: Task, dataset: Dataset) -> np.random.Generator:
    """The resampling of events behind the intervals: the same for every model, so that equal counts have equal ones."""
    return generator("bootstrap", task.name, dataset.revision)


def inputs_of(config: RunConfig, dataset: Dataset) -> Inputs:
    """What the model is told of its data."""
    prepared = config.preprocess
    return Inputs(tuple(prepared.columns), dataset.info.frame, tuple(prepared.event_columns))


def open_events(config: RunConfig, dataset: Dataset) -> RunEvents:
    """Training events, the labelled subset, and the split that is scored. Raises DataError."""
    train = event_set(dataset, "train", config.task, config.preprocess)
    test = event_set(dataset, config.scored_split, config.task, config.preprocess)
    check_disjoint(train, test, config.scored_split, dataset)
    chosen = subset(train.event_ids, config.labels, config.draw)
    return RunEvents(dataset, train, train.chosen(chosen), test, chosen)


def check_disjoint(train: EventSet, scored: EventSet, split: str, dataset: Dataset) -> None:
    """Raises DataError where an event is in the training split and in the one that is scored."""
    both = set(train.event_ids) & set(scored.event_ids)
    if both:
        raise DataError(
            f"{len(both)} events are in both the training and the {split} split of {dataset.info.name} "
            f"(first: {min(both)}). Disjoint splits were expected. Remove them from one of the two."
        )
