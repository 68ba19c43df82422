"""Calibration of a classifier: reliability diagram and expected calibration error.

C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3: rows are sorted into bins by the
probability of the predicted class; in each bin the mean probability should equal the accuracy. The error is the mean
absolute difference of the two, weighted with the rows in a bin. Sums per event are additive, so the error does not
depend on batches, and events can be resampled.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmark.contracts import PointBatch, Task
from benchmark.metrics.bootstrap import resampled_sums
from benchmark.metrics.few_events import MadeOf, allowed_interval
from benchmark.metrics.summary import plain

N_BINS = 15
SUMS = ("rows", "confidence", "right")  # sums of a bin


def can_be_judged(task: Task) -> bool:
    """Whether a task's predictions are one class of several, of points or of whole events."""
    return task.kind == "classification" and not task.soft and task.level in ("point", "event")


def state(scores: np.ndarray, batch: PointBatch, task: Task) -> np.ndarray:
    """(B, N_BINS, 3) float64 sums of each event: rows, their confidence, number of correct ones.

    scores: (N, C) unnormalised, a row per point or per event.
    """
    target = np.asarray(batch.target)
    counted = target != task.ignore_index
    exponentials = np.exp(np.asarray(scores, np.float64) - np.max(scores, axis=1, keepdims=True))
    confidence = exponentials.max(axis=1) / exponentials.sum(axis=1)
    is_correct = np.asarray(scores).argmax(axis=1) == target
    bins = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    lengths = np.diff(np.asarray(batch.offsets)) if task.level == "point" else np.ones(batch.n_events, int)
    index = (np.repeat(np.arange(batch.n_events), lengths) * N_BINS + bins)[counted]
    sums = [
        np.bincount(index, weights, minlength=batch.n_events * N_BINS)
        for weights in (None, confidence[counted], is_correct[counted].astype(np.float64))
    ]
    return np.stack(sums, axis=1).reshape(batch.n_events, N_BINS, 3)


def expected_error(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Of (..., N_BINS, 3) sums: `ece` (...), NaN without rows."""
    rows, confidence, right = np.moveaxis(sums, -1, 0)
    total = rows.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {"ece": np.abs(confidence - right).sum(axis=-1) / np.where(total > 0, total, np.nan)}


def report(states: np.ndarray, rng: np.random.Generator, units: np.ndarray) -> dict[str, Any]:
    """Plain values for a record: the error with its interval over independent events, and the diagram's bins.

    units: (B,) number of the independent event of each state.
    """
    sums = states.sum(axis=0)
    resampled = expected_error(resampled_sums(states, rng, units=units))["ece"]
    low, high = allowed_interval(MadeOf(np.ones(len(states), bool)), units, resampled)
    value = expected_error(sums)["ece"]
    rows = sums[:, 0]
    return {
        "ece": {"value": plain(value), "low": plain(low), "high": plain(high)},
        "rows": rows.astype(int).tolist(),
        "confidence": [plain(c / n) if n else None for n, c, _ in sums],
        "accuracy": [plain(r / n) if n else None for n, _, r in sums],
    }
