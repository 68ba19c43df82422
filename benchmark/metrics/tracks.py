"""Voxels of tracks in a volume, and tracks as whole objects.

Voxels are scored one by one. Objects are connected groups (26 neighbours) of voxels predicted as track, of at least
MIN_VOXELS; smaller groups are no objects, but their voxels count as voxels. A true track with at least as many voxels
in the tile is found where at least half of its voxels are predicted as track (efficiency), and separated where one
object matches it with an intersection over union of at least a half. An object is pure where at least half of its
voxels are of one true track. Efficiency is also given by track size. A track cut by a tile's edge counts in both
tiles.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmark.metrics.few_events import MadeOf
from benchmark.metrics.pions import Scores, blockwise
from benchmark.metrics.summary import ratio

MIN_VOXELS = 20  # of an object: about a third of the point spread function's voxels
SHARE = 0.5
SIZES = (0, 200, 800)  # lower ends of the bins of voxels of a true track
COLUMNS = (
    "tp", "fp", "fn", "tn", "n_objects", "n_pure", "n_separated",
    *(f"{name}_{i}" for i in range(len(SIZES)) for name in ("n_true", "n_found")),
)  # fmt: skip
SECTIONS = ("overall", "by_size")


def state(predicted: np.ndarray, instance: np.ndarray) -> np.ndarray:
    """(B, len(COLUMNS)) int64 from volumes (B, Z, Y, X): bool predicted voxels, true tracks by number (0: none)."""
    return np.stack([_event_counts(c, i) for c, i in zip(predicted, instance, strict=True)])


def _event_counts(predicted: np.ndarray, instance: np.ndarray) -> np.ndarray:
    truth = instance > 0
    counts = {
        "tp": (predicted & truth).sum(), "fp": (predicted & ~truth).sum(), "fn": (~predicted & truth).sum(),
        "tn": (~predicted & ~truth).sum(),
    }  # fmt: skip
    objects, n_objects = connected(predicted)
    numbers, true = np.unique(instance, return_inverse=True)  # number 0 (background) sorts first
    true = true.reshape(instance.shape)
    overlap = np.zeros((len(numbers), n_objects + 1), dtype=np.int64)  # voxels shared by a true track and an object
    np.add.at(overlap, (true.ravel(), objects.ravel()), 1)
    is_track = numbers > 0
    size_true, size_object = overlap.sum(axis=1), overlap.sum(axis=0)
    is_counted = is_track & (size_true >= MIN_VOXELS)
    n_predicted = np.bincount(true.ravel(), weights=predicted.ravel(), minlength=len(numbers))
    is_found = n_predicted >= SHARE * size_true
    shared = overlap[:, 1:]
    union = size_true[:, None] + size_object[None, 1:] - shared
    separated = (shared >= SHARE * union).any(axis=1)
    pure = shared[is_track].max(axis=0, initial=0) >= SHARE * size_object[1:]
    counts |= {"n_objects": n_objects, "n_pure": pure.sum(), "n_separated": (separated & is_counted).sum()}
    bins = np.searchsorted(SIZES, size_true, side="right") - 1
    for i in range(len(SIZES)):
        counts |= {
            f"n_true_{i}": (is_counted & (bins == i)).sum(),
            f"n_found_{i}": (is_counted & (bins == i) & is_found).sum(),
        }
    return np.array([int(counts[name]) for name in COLUMNS], dtype=np.int64)


def connected(predicted: np.ndarray, min_voxels: int = MIN_VOXELS) -> tuple[np.ndarray, int]:
    """(Z, Y, X) int64 numbers 1..n of connected groups of at least `min_voxels` voxels, 0 elsewhere, and n."""
    from scipy.ndimage import label

    groups, n_groups = label(predicted, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(groups.ravel(), minlength=n_groups + 1)
    is_large = sizes >= min_voxels
    is_large[0] = False
    number = np.where(is_large, np.cumsum(is_large), 0)
    return number[groups], int(is_large.sum())


def dense(scores: np.ndarray, voxel: np.ndarray, offsets: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(B, Z, Y, X) bool predicted track voxels, from scores (N, 2) of points with flat indices `voxel` (N,) in B tiles.

    Voxels that are no points are background.
    """
    n_events = len(offsets) - 1
    predicted = np.zeros((n_events, int(np.prod(shape))), dtype=bool)
    event = np.repeat(np.arange(n_events), np.diff(offsets))
    predicted[event, voxel] = scores[:, 1] > scores[:, 0]
    return predicted.reshape(n_events, *shape)


def rows(section: str) -> tuple[str, ...]:
    """Labels of a section's rows, in voxels; none of `overall`."""
    if section != "by_size":
        return ()
    ends = (*SIZES[1:], None)
    return tuple(f"{max(a, MIN_VOXELS)}-{b - 1}" if b else f"{a}+" for a, b in zip(SIZES, ends, strict=True))


def scores(states: np.ndarray, times: np.ndarray) -> Scores:
    """Every score of (B, len(COLUMNS)) events that are each drawn times[r] times: section -> name -> (R,) or (R, rows).

    F1 is undefined (NaN) without true and predicted voxels; the others are where their denominator is 0.
    """
    values = np.asarray(states, dtype=np.float64)

    def block(drawn: np.ndarray) -> Scores:
        return _scores_from_sums(drawn @ values)

    return blockwise(times, len(values), block)


def _scores_from_sums(sums: np.ndarray) -> Scores:
    """The scores of (R, len(COLUMNS)) sums over events."""
    column = {name: sums[:, i] for i, name in enumerate(COLUMNS)}
    tp, fp, fn = (column[name] for name in ("tp", "fp", "fn"))
    n_true, n_found = (
        np.stack([column[f"{name}_{i}"] for i in range(len(SIZES))], axis=1) for name in ("n_true", "n_found")
    )
    occurs, true, objects = tp + fp + fn > 0, n_true.sum(axis=1), column["n_objects"]
    return {
        "overall": {
            "f1": ratio(2 * tp, 2 * tp + fp + fn, occurs),
            "precision": ratio(tp, tp + fp, occurs),
            "recall": ratio(tp, tp + fn, occurs),
            "iou": ratio(tp, tp + fp + fn, occurs),
            "efficiency": ratio(n_found.sum(axis=1), true, true > 0),
            "efficiency_iou": ratio(column["n_separated"], true, true > 0),
            "purity": ratio(column["n_pure"], objects, objects > 0),
        },
        "by_size": {"efficiency": ratio(n_found, n_true, n_true > 0)},
    }


def made_of(states: np.ndarray) -> dict[str, list[MadeOf]]:
    """What the scores of (B, len(COLUMNS)) tiles are made of: all, and among them some with tracks (of the size)."""
    everything, column = np.ones(len(states), bool), dict(zip(COLUMNS, states.T, strict=True))
    sizes = [column[f"n_true_{i}"] > 0 for i in range(len(SIZES))]
    return {
        "overall": [MadeOf(everything, (column["tp"] + column["fn"] > 0,))],
        "by_size": [MadeOf(everything, (row,)) for row in sizes],
    }


def truth(states: np.ndarray) -> np.ndarray:
    """(B, 2 + sizes) voxels in and outside tracks, and true tracks by size: equal for all models on the same tiles."""
    column = dict(zip(COLUMNS, states.T, strict=True))
    sizes = [column[f"n_true_{i}"] for i in range(len(SIZES))]
    return np.stack([column["tp"] + column["fn"], column["fp"] + column["tn"], *sizes], axis=1).astype(np.int64)


def extra(states: np.ndarray) -> dict[str, Any]:
    """Plain values beside the scores: numbers of voxels, tracks and objects, and the minimum size."""
    total = np.asarray(states).sum(axis=0)
    column = {name: int(total[i]) for i, name in enumerate(COLUMNS)}
    return {
        "voxels": {name: column[name] for name in ("tp", "fp", "fn", "tn")},
        "n_true": {row: column[f"n_true_{i}"] for i, row in enumerate(rows("by_size"))},
        "n_objects": column["n_objects"],
        "min_voxels": MIN_VOXELS,
    }
