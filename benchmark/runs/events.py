"""The labelled and the scored events of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.contracts import Dataset, Task
from benchmark.data.budget import Subset, subset
from benchmark.data.ids import shared_ids
from benchmark.data.stream import EventSet
from benchmark.errors import DataError
from benchmark.hardware.distributed import after_first
from benchmark.runs.prepared import Prepared
from benchmark.seeding import generator

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class RunEvents:
    """Labelled and scored events."""

    labelled: EventSet
    scored: EventSet
    split: str  # of the scored events
    subset: Subset  # how the labelled ones were drawn


def open_events(prepared: Prepared, split: str) -> RunEvents:
    """The label budget of the training split, and the whole of `split` to score. Raises DataError."""
    with after_first():  # the first process builds the cache; the others open it
        train, scored = prepared.train, prepared.events(split)
    check_disjoint(train, scored, split, prepared.dataset)
    labelled_subset = subset(train.event_ids, prepared.config.labels, prepared.config.draw)
    return RunEvents(train.chosen(labelled_subset), scored, split, labelled_subset)


def check_disjoint(train: EventSet, scored: EventSet, split: str, dataset: Dataset) -> None:
    """Raises DataError where an event is in both the training split and the scored one."""
    shared = shared_ids(train.event_ids, scored.event_ids)
    if shared:
        raise DataError(
            f"{len(shared)} events are in both the training and the {split} split of {dataset.info.name} "
            f"(first: {shared[0]}). Disjoint splits were expected. Remove them from one of the two."
        )


def bootstrap_rng(task: Task, dataset: Dataset) -> np.random.Generator:
    """Generator of the bootstrap over events: the same for every model, so that equal counts have equal intervals."""
    return generator("bootstrap", task.name, dataset.revision)
