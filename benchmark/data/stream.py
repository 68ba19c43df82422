"""Events of one split as batches: all of them in order (scoring), or an endless shuffled stream by step (training)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from benchmark.contracts import Dataset, DatasetInfo, Event, EventSource, Frame, PointBatch, Task, concatenate
from benchmark.data.augment import rotate, rotations
from benchmark.data.budget import Subset
from benchmark.data.ids import EventIds
from benchmark.data.preparation import Preparation
from benchmark.errors import DataError
from benchmark.seeding import generator


@dataclass(frozen=True)
class EventSet:
    """The usable events of a split under one task and one preprocessing."""

    source: EventSource
    task: Task
    config: Preparation
    frame: Frame
    indices: np.ndarray  # positions in `source`
    excluded: dict[str, int]  # reason -> events left out by the preprocessing's stated cuts

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def event_ids(self) -> EventIds:
        """Ids of the usable events, sorted."""
        ids, indices = self.source.event_ids, self.indices
        return EventIds(len(self), lambda position: ids[int(indices[position])])

    @property
    def units(self) -> np.ndarray:
        """(n,) int64 number of the independent event of each: samples of one collision or scan share it."""
        of_source = getattr(self.source, "units", None)
        return numbered(self.indices if of_source is None else np.asarray(of_source)[self.indices])

    def chosen(self, subset: Subset) -> EventSet:
        """The events of a label budget."""
        return replace(self, indices=self.indices[subset.indices])

    def first(self, n_events: int, *stream: object) -> EventSet:
        """`n_events` drawn at random (0 or too many: all) by the named stream, in sorted order."""
        if not 0 < n_events < len(self):
            return self
        order = generator("choice of events", *stream).permutation(len(self))[:n_events]
        return replace(self, indices=self.indices[np.sort(order)])

    def batch(self, positions: Sequence[int] | np.ndarray) -> PointBatch[np.ndarray]:
        """Preprocessed events at these positions of this set, as one batch."""
        events = (self.source[int(self.indices[p])] for p in positions)
        return concatenate([self.config.apply(e, self.task, self.frame) for e in events])

    def positions_by_size(self, batch_size: int) -> Iterator[np.ndarray]:
        """Positions of the events of each batch: every event once, sorted by size, to reduce padding."""
        order = np.argsort(np.asarray(self.source.n_points)[self.indices], kind="stable")
        for start in range(0, len(order), batch_size):
            yield order[start : start + batch_size]

    def in_order(self, batch_size: int) -> Iterator[PointBatch[np.ndarray]]:
        """Batches of `positions_by_size`."""
        return map(self.batch, self.positions_by_size(batch_size))


def numbered(units: np.ndarray) -> np.ndarray:
    """Numbers from 0 on, without gaps, for equal values."""
    return np.asarray(np.unique(units, return_inverse=True)[1], np.int64)


def source_of(dataset: Dataset, split: str, task: Task) -> EventSource:
    """The events of a split, or the task's samples of them."""
    return dataset.events(split) if task.sample == "event" else dataset.events(split, task.sample)


def check_declared(info: DatasetInfo, task: Task, config: Preparation) -> None:
    """Raises DataError where the dataset does not declare the labels of a task."""
    _check_has_labels(
        config.labels(task), info.labels, task, f"The dataset {info.name}", "Add it to DatasetInfo.labels"
    )


def check_labels(info: DatasetInfo, task: Task, config: Preparation, event: Event) -> None:
    """Raises DataError where an event lacks a label of a task, declared or not."""
    where = f"Event {event.event_id} of {info.name}"
    _check_has_labels(config.suited(info).labels(task), event.labels, task, where, "Add it to Event.labels")


def _check_has_labels(
    needed: Sequence[str], available: Mapping[str, object], task: Task, where: str, remedy: str
) -> None:
    missing = [name for name in needed if name not in available]
    if missing:
        raise DataError(
            f"{where} has no label {missing[0]!r}, which {task.name} needs; it has {', '.join(available) or 'none'}. "
            f"{', '.join(needed)} was expected. {remedy}, or choose another --task."
        )


def event_set(dataset: Dataset, split: str, task: Task, config: Preparation) -> EventSet:
    """The usable events of a split. Raises DataError when none is left, or a label is missing."""
    config = config.suited(dataset.info)
    check_declared(dataset.info, task, config)
    source = source_of(dataset, split, task)
    eligible = config.eligible(source, task)
    if len(eligible.indices) == 0:
        raise DataError(
            f"No event of the {split} split of {dataset.info.name} passes the preprocessing ({eligible.excluded}). At "
            f"least one was expected. Loosen it, for example with --set preprocess.{config.looser}."
        )
    check_labels(dataset.info, task, config, source[int(eligible.indices[0])])
    dropped: dict[str, int] = dict(getattr(source, "dropped", {}))  # excluded before sampling
    return EventSet(source, task, config, dataset.info.frame, eligible.indices, {**dropped, **eligible.excluded})


def training_batch(
    events: EventSet, step: int, batch_size: int, seed: int, stage: str, *, rotation: str,
    share: tuple[int, int] = (0, 1),
) -> PointBatch[np.ndarray]:  # fmt: skip
    """The batch of one training step: a function of its arguments, so a resumed run gets the same batches.

    Events come from consecutive random permutations of the set, so each is seen equally often. `rotation` is one of
    `augment.ROTATIONS`. `share` (r, n): events r, r + n, ... of the batch, with the same rotations.
    """
    n_events = len(events)
    first = step * batch_size
    positions = [_position(n_events, i, seed, stage) for i in range(first, first + batch_size)]
    share_slice = slice(share[0], None, share[1])
    batch = events.batch(positions[share_slice])
    if batch.volumes.hidden is not None:  # new masks in every step; scoring uses a fixed one per event
        draws = [generator("hidden tokens", stage, seed, step, row) for row in range(batch_size)]
        batch = events.config.hide(batch, draws[share_slice])  # type: ignore[attr-defined]
    if rotation == "none":
        return batch
    return rotate(batch, rotations(rotation, batch_size, generator("rotation", stage, seed, step))[share_slice])


def _position(n_events: int, i: int, seed: int, stage: str) -> int:
    epoch, within = divmod(i, n_events)
    return int(_permutation(n_events, epoch, seed, stage)[within])


@lru_cache(maxsize=2)  # a batch may end one pass and begin the next
def _permutation(n_events: int, epoch: int, seed: int, stage: str) -> np.ndarray:
    return generator("order of events", stage, seed, epoch).permutation(n_events)
