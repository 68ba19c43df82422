"""Scoring: the harness counts, the model only predicts. It never sees test labels; every event counts once."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmark.contracts import Model, PointBatch, Task
from benchmark.data.stream import EventSet
from benchmark.errors import BenchmarkError
from benchmark.metrics.counter import Counter
from benchmark.progress import progress


@dataclass(frozen=True)
class Evaluation:
    """Metrics with intervals, and each event's counts, in the order of the set's event ids."""

    metrics: dict[str, Any]  # section -> score -> {value, low, high}, with a row between in all but "overall"
    counts: np.ndarray  # (n_events, ...) states of the task's family of scores; of classes (C, C) [true, predicted]
    wall_s: float  # prediction alone
    details: dict[str, Any] = field(default_factory=dict)  # further scoring facts for the record
    events: dict[str, int] = field(default_factory=dict)  # numbers of events that replace the planned ones
    costs: dict[str, Any] = field(default_factory=dict)  # parameters, events per second, FLOPs per event


def evaluate(
    model: Model, events: EventSet, batch_size: int, rng: np.random.Generator, split: str = "test"
) -> Evaluation:
    """Predict every event of the set and count. `rng` resamples events for the intervals; `split` names them."""
    counter = Counter(events.task, events.units)
    predict_s, done = 0.0, 0
    with progress(f"scoring the {split} split", len(events)) as bar:
        for rows in events.positions_by_size(batch_size):
            batch = events.batch(rows)
            started = time.perf_counter()
            scores = np.asarray(model.predict(batch.without_target()))
            predict_s += time.perf_counter() - started
            check_scores(scores, batch, events.task)
            counter.add(rows, scores, batch)
            done += batch.n_events
            bar.update(done)
    return Evaluation(counter.report(rng), counter.counts, predict_s)


def expected_shapes(batch: PointBatch, task: Task) -> tuple[tuple[int, ...], ...]:
    """Allowed shapes of a model's scores: a row per point or event, or volumes."""
    point_shape = (batch.n_points, task.n_outputs)
    if task.level == "volume":
        volume_shape = (batch.n_events, task.n_outputs, *np.asarray(batch.volumes.values).shape[1:])
        return (volume_shape,) if task.self_supervised else (volume_shape, point_shape)
    return (point_shape,) if task.level == "point" else ((batch.n_events, task.n_outputs),)


def check_scores(scores: np.ndarray, batch: PointBatch, task: Task) -> None:
    """Raises BenchmarkError for scores of another shape than the task's, or that are not finite."""
    expected = expected_shapes(batch, task)
    if scores.shape not in expected:
        raise BenchmarkError(
            f"The model returned scores of shape {scores.shape}. {' or '.join(map(str, expected))} was expected. "
            f"Correct the model's `forward`."
        )
    rows, is_per_point = len(scores), task.level != "event" and scores.ndim == 2
    wrong = np.flatnonzero(~np.isfinite(scores).reshape(rows, -1).all(axis=1))
    if len(wrong):
        event = np.searchsorted(np.asarray(batch.offsets), wrong[0], side="right") - 1 if is_per_point else wrong[0]
        raise BenchmarkError(
            f"The model returned scores that are not finite for {len(wrong)} of {rows} rows (first in event "
            f"{batch.event_ids[int(event)]}). Finite scores were expected. Correct the model's `forward`, or lower the "
            f"learning rate with --set optim.lr=1e-4."
        )
