"""Shared by all families of scores: the division rule, and scores as plain values for a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def ratio(part: np.ndarray, whole: np.ndarray, defined: np.ndarray) -> np.ndarray:
    """part / whole, 0 where only `whole` is empty, NaN where the score is not defined."""
    safe: np.ndarray = part / np.where(whole > 0, whole, 1)
    return np.where(defined, np.where(whole > 0, safe, 0.0), np.nan)


def macro(scores: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """(...) mean of (..., C) scores over `classes` (bool); NaN without a class, and where one of them has no score.

    The classes are those of the whole test split, also in a resample that lacks one: a mean over the others is another
    quantity.
    """
    n_classes = classes.sum(axis=-1)
    return ratio(np.where(classes, scores, 0.0).sum(axis=-1), n_classes, n_classes > 0)


def entries(
    values: Mapping[str, np.ndarray],
    intervals: Mapping[str, np.ndarray] | None,
    overall: Sequence[str],
    per_class: Sequence[str],
    classes: Sequence[str],
) -> dict[str, Any]:
    """Scores as a record holds them: `{"value", "low", "high"}` of each, null where undefined.

    values: name -> () or (C,). intervals: name -> (2, ...) lower and upper ends, or None to leave them out.
    """

    def entry(name: str, where: tuple[int, ...] = ()) -> dict[str, float | None]:
        result = {"value": plain(values[name][where])}
        if intervals is not None:
            low, high = intervals[name]
            result |= {"low": plain(low[where]), "high": plain(high[where])}
        return result

    return {
        "overall": {name: entry(name) for name in overall},
        "per_class": {c: {name: entry(name, (i,)) for name in per_class} for i, c in enumerate(classes)},
    }


def plain(value: Any) -> float | None:
    """A float, or None for NaN and infinity, which JSON does not have."""
    return float(value) if np.isfinite(value) else None
