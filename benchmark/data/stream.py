"""Events of one split as batches: all of them in order (scoring), or an endless shuffled stream by step (training)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from benchmark.contracts import Dataset, EventSource, Frame, PointBatch, Task, concatenate
from benchmark.data.augment import rotate, rotations
from benchmark.data.budget import Subset
from benchmark.data.preparation import Preparation
from benchmark.errors import DataError
from benchmark.seeding import generator

_LOOSER = {"lartpc": "min_points=0", "calorimeter": "min_cells=1", "lif": "min_points=1"}


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
    def event_ids(self) -> tuple[str, ...]:
        """Ids of the usable events, sorted."""
        ids = self.source.event_ids
        return tuple(ids[i] for i in self.indices)

    def chosen(self, subset: Subset) -> EventSet:
        """The events of a label budget."""
        return replace(self, indices=self.indices[list(subset.indices)])

    def first(self, n_events: int, *stream: object) -> EventSet:
        """`n_events` drawn at random (0 or more than there are: all), by the named stream; kept in sorted order."""
        if not 0 < n_events < len(self):
            return self
        order = generator("choice of events", *stream).permutation(len(self))[:n_events]
        return replace(self, indices=self.indices[np.sort(order)])

    def batch(self, positions: Sequence[int] | np.ndarray) -> PointBatch[np.ndarray]:
        """Preprocessed events at these positions of this set, as one batch."""
        events = (self.source[int(self.indices[p])] for p in positions)
        return concatenate([self.config.apply(e, self.task, self.frame) for e in events])

    def in_order(self, batch_size: int) -> Iterator[PointBatch[np.ndarray]]:
        """Every event once, in order of size, so that a model that pads pads little. No event is dropped."""
        order = np.argsort(np.asarray(self.source.n_points)[self.indices], kind="stable")
        for start in range(0, len(order), batch_size):
            yield self.batch(order[start : start + batch_size])


def source_of(dataset: Dataset, split: str, task: Task) -> EventSource:
    """The events of a split, or the samples of them that the task asks for."""
    return dataset.events(split) if task.sample == "event" else dataset.events(split, task.sample)


def event_set(dataset: Dataset, split: str, task: Task, config: Preparation) -> EventSet:
    """The usable events of a split. Raises DataError when none is left."""
    source = source_of(dataset, split, task)
    usable = config.eligible(source, task)
    if len(usable.indices) == 0:
        raise DataError(
            f"No event of the {split} split of {dataset.info.name} passes the preprocessing ({usable.excluded}). At "
            f"least one was expected. Loosen it, for example with --set preprocess.{_LOOSER[task.detector]}."
        )
    dropped: dict[str, int] = dict(getattr(source, "dropped", {}))  # before they became samples
    return EventSet(source, task, config, dataset.info.frame, usable.indices, {**dropped, **usable.excluded})


def training_batch(
    events: EventSet, step: int, batch_size: int, seed: int, stage: str, *, rotation: str,
    share: tuple[int, int] = (0, 1),
) -> PointBatch[np.ndarray]:  # fmt: skip
    """The batch of one training step: a function of its arguments alone, so that a resumed run sees the same batches.

    Events come from consecutive random permutations of the set, so each is seen equally often. `rotation` is one of
    `augment.ROTATIONS`. `share` (r, n): events r, r + n, ... of the batch, turned as they are in the whole one.
    """
    n_events = len(events)
    first = step * batch_size
    positions = [_position(n_events, i, seed, stage) for i in range(first, first + batch_size)]
    own = slice(share[0], None, share[1])
    batch = events.batch(positions[own])
    if batch.volumes.hidden is not None:  # other tokens in every step; scoring keeps each event's own
        draws = [generator("hidden tokens", stage, seed, step, place) for place in range(batch_size)]
        batch = events.config.hide(batch, draws[own])  # type: ignore[attr-defined]
    if rotation == "none":
        return batch
    return rotate(batch, rotations(rotation, batch_size, generator("rotation", stage, seed, step))[own])


def _position(n_events: int, place: int, seed: int, stage: str) -> int:
    epoch, within = divmod(place, n_events)
    return int(_permutation(n_events, epoch, seed, stage)[within])


@lru_cache(maxsize=8)
def _permutation(n_events: int, epoch: int, seed: int, stage: str) -> np.ndarray:
    return generator("order of events", stage, seed, epoch).permutation(n_events)
