"""Scores where a token may hold several classes at once, from counts that add up over events.

Every class is a binary label. The rule for empty classes is that of `benchmark.metrics.segmentation`: a class
that is neither true nor predicted anywhere has no score and is left out of the macro mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmark.errors import BenchmarkError
from benchmark.metrics.few_events import MACRO, MadeOf
from benchmark.metrics.summary import macro, ratio

PER_CLASS = ("precision", "recall", "f1")
OVERALL = ("macro_precision", "macro_recall", "macro_f1", "subset_accuracy")


def multilabel_counts(predicted: np.ndarray, truth: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """(B, C + 1, 4) int64 counts per event.

    predicted, truth: (T, C) bool. offsets: (B+1,) event b owns rows offsets[b]:offsets[b+1]. Rows 0..C-1 of the counts
    are classes: true positives, false positives, false negatives, true negatives. The last row counts tokens:
    correct in every class, all others, and two zeros. Raises BenchmarkError for arrays whose shapes differ.
    """
    predicted, truth, offsets = np.asarray(predicted, bool), np.asarray(truth, bool), np.asarray(offsets)
    if predicted.shape != truth.shape or offsets[-1] != len(truth):
        raise BenchmarkError(
            f"There are predictions of shape {predicted.shape}, labels of shape {truth.shape} and {offsets[-1]} tokens "
            f"of events. Equal numbers were expected. Check what the model's token_features returns."
        )
    is_correct = (predicted == truth).all(axis=1)
    outcomes = np.stack([predicted & truth, predicted & ~truth, ~predicted & truth, ~predicted & ~truth], axis=-1)
    token_counts = np.stack([is_correct, ~is_correct, np.zeros_like(is_correct), np.zeros_like(is_correct)], axis=-1)
    rows = np.concatenate([outcomes, token_counts[:, None]], axis=1)  # (T, C + 1, 4)
    cumulative = np.concatenate([np.zeros_like(rows[:1], dtype=np.int64), np.cumsum(rows, axis=0, dtype=np.int64)])
    counts: np.ndarray = cumulative[offsets[1:]] - cumulative[offsets[:-1]]
    return counts


def scores_from_counts(counts: np.ndarray, whole: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Every score of (..., C + 1, 4) summed counts: PER_CLASS as (..., C), OVERALL as (...). NaN where undefined.

    whole: (C + 1, 4) counts of the test split of which `counts` are resamples: its classes are those of the macro
    means.
    """
    counts = np.asarray(counts, dtype=np.float64)
    hits, false, missed, _ = np.moveaxis(counts[..., :-1, :], -1, 0)  # (..., C) each
    occurs = hits + false + missed > 0
    result = {
        "precision": ratio(hits, hits + false, occurs),
        "recall": ratio(hits, hits + missed, occurs),
        "f1": ratio(2 * hits, 2 * hits + false + missed, occurs),
    }
    classes = occurs if whole is None else whole[:-1, :3].sum(axis=-1) > 0
    for name in PER_CLASS:
        result[f"macro_{name}"] = macro(result[name], classes)
    total = counts[..., -1, :].sum(axis=-1)
    result["subset_accuracy"] = ratio(counts[..., -1, 0], total, total > 0)
    return result


def made_of(counts: np.ndarray) -> dict[str, list[MadeOf]]:
    """What the scores of (B, C + 1, 4) events are made of: macro means need every true class."""
    everything, true = np.ones(len(counts), bool), counts[:, :-1, [0, 2]].sum(axis=-1) > 0  # (B, C)
    return {
        "overall": [MadeOf(everything)],
        MACRO: [MadeOf(everything, tuple(row for row in true.T if row.any()))],
        "per_class": [MadeOf(everything, (row,)) for row in true.T],
    }


def extra(counts: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Plain values beside the scores: `support` is the number of tokens that hold a class. counts: (B, C + 1, 4)."""
    total = np.asarray(counts).sum(axis=0)
    return {
        "support": {c: int(total[i, 0] + total[i, 2]) for i, c in enumerate(classes)},
        "counts": {c: total[i].tolist() for i, c in enumerate(classes)},
        "n_tokens": int(total[-1].sum()),
    }
