"""Classification scores of points or events, from confusion counts that are summed over events.

Counts are summed before division, so scores do not depend on batch size or number of devices.

Rule for empty classes: a class that is absent from truth and prediction over the whole test set has no score (NaN, and
`null` in records) and is left out of the macro mean; a class that is absent from only one of the two scores 0. This is
scikit-learn's `zero_division=0` over the labels that occur.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmark.errors import BenchmarkError
from benchmark.metrics.few_events import MACRO, MadeOf
from benchmark.metrics.summary import entries, macro, ratio

PER_CLASS = ("precision", "recall", "f1", "iou")
OVERALL = ("macro_precision", "macro_recall", "macro_f1", "macro_iou", "accuracy")


def confusion(
    scores: np.ndarray,
    target: np.ndarray,
    offsets: np.ndarray | None = None,
    *,
    ignore_index: int = -1,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """(B, C, C) counts per event, rows the truth and columns the prediction; int64, or float64 where weighted.

    scores: (N, C), argmax, ties to the lowest class. target: (N,) classes 0..C-1, or `ignore_index` for
    ignored rows. offsets: (B+1,) event b owns rows offsets[b]:offsets[b+1]; None when every row is an event.
    weights: (N,) weight of each row, for example its energy. Raises BenchmarkError for scores that are not finite,
    targets outside the classes, or arrays whose lengths differ.
    """
    scores, target = np.asarray(scores), np.asarray(target)
    n_rows, n_classes = scores.shape
    offsets = np.arange(n_rows + 1) if offsets is None else np.asarray(offsets)
    _check_inputs(scores, target, offsets, ignore_index, weights)
    n_events = len(offsets) - 1
    event = np.repeat(np.arange(n_events), np.diff(offsets))
    counted = target != ignore_index
    cell = (event * n_classes + target) * n_classes + scores.argmax(axis=1)
    row_weights = None if weights is None else np.asarray(weights, dtype=np.float64)[counted]
    counts = np.bincount(cell[counted], row_weights, minlength=n_events * n_classes**2)
    return counts.reshape(n_events, n_classes, n_classes)


def scores_from_counts(counts: np.ndarray, whole: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Every score of (..., C, C) summed counts: PER_CLASS as (..., C), OVERALL as (...). NaN where undefined.

    whole: (C, C) counts of the test split of which `counts` are resamples: its classes are those of the macro means.
    """
    counts = np.asarray(counts, dtype=np.float64)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)  # (..., C)
    truth, predicted = counts.sum(axis=-1), counts.sum(axis=-2)
    occurs = truth + predicted > 0
    result = {
        "precision": ratio(hits, predicted, occurs),
        "recall": ratio(hits, truth, occurs),
        "f1": ratio(2 * hits, truth + predicted, occurs),
        "iou": ratio(hits, truth + predicted - hits, occurs),
    }
    classes = occurs if whole is None else whole.sum(axis=-1) + whole.sum(axis=-2) > 0
    for name in PER_CLASS:
        result[f"macro_{name}"] = macro(result[name], classes)
    total = truth.sum(axis=-1)
    result["accuracy"] = ratio(hits.sum(axis=-1), total, total > 0)
    return result


def made_of(states: np.ndarray) -> dict[str, list[MadeOf]]:
    """What the scores of (B, C, C) events are made of: macro means need every true class."""
    everything, true = np.ones(len(states), bool), states.sum(axis=2) > 0  # (B, C)
    with_class = [row for row in true.T if row.any()]
    return {
        "overall": [MadeOf(everything)],
        MACRO: [MadeOf(everything, tuple(with_class))],
        "per_class": [MadeOf(everything, (row,)) for row in true.T],
    }


def truth(states: np.ndarray) -> np.ndarray:
    """(B, C) true points of each class: equal for all models on the same points."""
    return np.asarray(states.sum(axis=2))


def wrong_shares(counts: np.ndarray) -> np.ndarray:
    """(B,) share of wrong points in each of (B, C, C) events; 0 in an event without points."""
    n_points = counts.sum(axis=(1, 2))
    shares: np.ndarray = (n_points - np.trace(counts, axis1=1, axis2=2)) / np.maximum(n_points, 1)
    return shares


def report(
    counts: np.ndarray, classes: Sequence[str], intervals: Mapping[str, np.ndarray] | None = None
) -> dict[str, Any]:
    """Scores of a test set as plain values, ready for a record.

    counts: (B, C, C) per event. intervals: name -> (2, ...) lower and upper ends, as `bootstrap.intervals` gives them
    for `scores_from_counts`. Every score is `{"value", "low", "high"}`, null where undefined; `support` is the truth's
    count of a class.
    """
    total = np.asarray(counts).sum(axis=0)
    return {
        **entries(scores_from_counts(total), intervals, OVERALL, PER_CLASS, classes),
        "support": {c: total[i].sum().item() for i, c in enumerate(classes)},
        "confusion": total.tolist(),
        "n_events": len(counts),
    }


def _check_inputs(
    scores: np.ndarray, target: np.ndarray, offsets: np.ndarray, ignore_index: int, weights: np.ndarray | None
) -> None:
    n_rows, n_classes = scores.shape
    if len(target) != n_rows or offsets[-1] != n_rows or (weights is not None and len(weights) != n_rows):
        raise BenchmarkError(
            f"There are {n_rows} rows of scores, {len(target)} targets and {offsets[-1]} points of events. Equal "
            f"numbers were expected. Check what the model's predict returns."
        )
    n_bad = n_rows - int(np.isfinite(scores).all(axis=1).sum())
    if n_bad:
        raise BenchmarkError(
            f"{n_bad} of {n_rows} rows of scores are not finite. Finite scores were expected. The training probably "
            f"diverged: type for example --set optim.lr=1e-4."
        )
    wrong = (target != ignore_index) & ((target < 0) | (target >= n_classes))
    if wrong.any():
        raise BenchmarkError(
            f"A target is {target[wrong][0]} and the model scores {n_classes} classes. Targets from 0 to "
            f"{n_classes - 1} were expected. Check that model and task have the same classes."
        )
