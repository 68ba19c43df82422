"""Scoring: the harness counts, the model only predicts. It never sees a test label, and every event counts once."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmark.contracts import Model, PointBatch, Task
from benchmark.data.stream import EventSet
from benchmark.errors import BenchmarkError
from benchmark.metrics.bootstrap import intervals
from benchmark.metrics.paper_protocol import mean_over_batches
from benchmark.metrics.segmentation import confusion, report, scores_from_counts
from benchmark.progress import progress


@dataclass(frozen=True)
class Evaluation:
    """Metrics with intervals, and the additive counts per event, in the order of the set's event ids."""

    metrics: dict[str, Any]  # score -> {value, low, high}
    counts: np.ndarray  # (n_events, ...) int64; (C, C) of a class per row, [true, predicted]
    wall_s: float  # prediction alone
    details: dict[str, Any] = field(default_factory=dict)  # what else a record says of how this was scored
    events: dict[str, int] = field(default_factory=dict)  # counts of events that replace those known beforehand


def evaluate(
    model: Model, events: EventSet, batch_size: int, rng: np.random.Generator, split: str = "test"
) -> Evaluation:
    """Predict every event of the set and count. `rng` resamples events for the intervals; `split` names them."""
    task = events.task
    place = {event_id: i for i, event_id in enumerate(events.event_ids)}
    counts = np.zeros((len(events), task.n_outputs, task.n_outputs), dtype=np.int64)
    spent, done = 0.0, 0
    with progress(f"scoring the {split} split", len(events)) as bar:
        for batch in events.in_order(batch_size):
            started = time.perf_counter()
            scores = np.asarray(model.predict(batch.without_target()))
            spent += time.perf_counter() - started
            _check(scores, batch, task)
            rows = [place[i] for i in batch.event_ids]
            counts[rows] = count(scores, batch, task)
            done += batch.n_events
            bar.update(done)
    metrics = report(counts, task.classes, intervals(counts, scores_from_counts, rng))
    if task.level == "point":
        metrics["paper_protocol"] = mean_over_batches(counts)
    return Evaluation(metrics, counts, spent)


def count(scores: np.ndarray, batch: PointBatch, task: Task) -> np.ndarray:
    """(B, C, C) confusion counts per event, [true, predicted]."""
    offsets = np.asarray(batch.offsets) if task.level == "point" else None
    return confusion(scores, np.asarray(batch.target), offsets, ignore_index=task.ignore_index)


def _check(scores: np.ndarray, batch: PointBatch, task: Task) -> None:
    rows = batch.n_points if task.level == "point" else batch.n_events
    if scores.shape != (rows, task.n_outputs):
        raise BenchmarkError(
            f"The model returned scores of shape {scores.shape}. {(rows, task.n_outputs)} was expected. "
            f"Correct the model's `forward`."
        )
    wrong = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(wrong):
        event = (
            np.searchsorted(np.asarray(batch.offsets), wrong[0], side="right") - 1
            if task.level == "point"
            else wrong[0]
        )
        raise BenchmarkError(
            f"The model returned scores that are not finite for {len(wrong)} of {rows} rows (first in event "
            f"{batch.event_ids[int(event)]}). Finite scores were expected. Correct the model's `forward`, or lower the "
            f"learning rate with --set optim.lr=1e-4."
        )
