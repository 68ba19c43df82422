"""Events of a split as other frameworks read them: what a model of the task may see, and labels where allowed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmark.contracts import PointBatch, Task
from benchmark.data.stream import EventSet
from benchmark.errors import ConfigError
from benchmark.exchange.table import Table
from benchmark.progress import progress

COORDINATES = ("x", "y", "z")
LABEL = "label"


def table_of(events: EventSet, about: Mapping[str, str], has_labels: bool) -> Table:
    """The events as a table. has_labels: with the task's label in the column `label`.

    Tasks of points: a row for each point that is scored, in the suite's order, with x, y, z (float32, in the unit of
    the dataset's frame), energy and further measured quantities; those of the whole event are repeated in its rows.
    Tasks of volumes: one array (Z, Y, X) for each event.
    """
    task = events.task
    ids, parts, lengths = [], [], []
    with progress("reading events", len(events)) as bar:
        for i in range(len(events)):
            batch = events.batch([i])
            columns = _volumes(batch, has_labels) if task.data == "volumes" else _points(batch, has_labels)
            ids.append(batch.event_ids[0])
            parts.append(columns)
            lengths.append(1 if task.data == "volumes" else batch.n_points)
            bar.update(i + 1)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    offsets = None if task.data == "volumes" else np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Table(tuple(ids), joined, offsets, about)


def check_task(task: Task) -> None:
    """Raises ConfigError for a task that takes no predictions from files."""
    if task.self_supervised or task.level == "token":
        raise ConfigError(
            f"{task.name} takes no predictions from files: it is scored on what the suite hides from its own models. "
            f"Another task was expected. Type `python -m benchmark list tasks`."
        )


def _points(batch: PointBatch[np.ndarray], has_labels: bool) -> dict[str, np.ndarray]:
    n = batch.n_points
    columns = {name: batch.coords[:, axis] for axis, name in enumerate(COORDINATES)}
    columns["energy"] = batch.energy
    columns |= {name: values for name, values in batch.point_info.items() if name not in columns}
    columns |= {name: np.repeat(values, n) for name, values in batch.event_info.items() if name not in columns}
    if has_labels and batch.target is not None:
        target = np.asarray(batch.target)
        columns[LABEL] = target if len(target) == n and batch.n_events != n else np.repeat(target, n)
    return columns


def _volumes(batch: PointBatch[np.ndarray], has_labels: bool) -> dict[str, np.ndarray]:
    columns = {"volume": np.asarray(batch.volumes.values)}
    if has_labels and batch.volumes.target is not None:
        columns[LABEL] = np.asarray(batch.volumes.target)
    return columns
